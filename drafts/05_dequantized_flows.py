# %% [markdown]
# # 05 · What if the model is continuous?
#
# A **normalising flow** [1, 2] is a density: an invertible network turns images into Gaussian noise, and the change-of-variables formula gives the likelihood exactly. But a density lives on the real numbers, and pixels are integers. In notebooks [02](02_gaussian_vae.ipynb) to [04](04_logistic_mixture_vae.ipynb) we turned densities into masses by integrating over bins. A flow cannot be integrated that way. This notebook shows what goes wrong, and the two ways out: uniform and learned noise.
#
# **You will**
#
# 1. watch a density collapse onto integers, and see its likelihood grow without limit;
# 2. add noise, and prove that what you then measure bounds the probability of the integers;
# 3. build a coupling layer, invert it, and check its log-determinant against the full Jacobian;
# 4. count on a toy with 256 possible images how far each bound is from the truth;
# 5. compare four flows of MNIST with published values: likelihoods, samples and interpolations.
#
# **Prerequisites.** [01_iwae](01_iwae.ipynb) for the importance-weighted bound, [02_gaussian_vae](02_gaussian_vae.ipynb) for densities against masses.
#
# **Runtime on 2 cores.** `quick`: about two minutes. `reference`: about three minutes, loads trained models, 2 GB. `paper`: a day on a GPU.

# %% tags=["parameters"]
profile = "reference"  # quick, reference or paper
seed = 0
device = "auto"  # auto, cpu, cuda, ...
figures_dir = "../build/figures"
retrain = False

# %%
import math
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import distributions, nn

from pixellib import devices
from pixellib.models.flows import Flow, assert_invertible, layers
from pixellib.series import figures, runs
from pixellib.training import Settings, fit

# %%
NAMES = {
    "flow-simple": "uniform noise",
    "flow-vardeq": "learned noise",
    "flow-multi-simple": "three scales, uniform noise",
    "flow-multi-vardeq": "three scales, learned noise",
}
plans = [runs.get(name).plan(profile) for name in NAMES]  # an unknown profile fails here
device = devices.resolve(device)
figures.use_style()
torch.manual_seed(seed)
print(f"torch {torch.__version__}, device {device}, profile {profile}")

# %% [markdown]
# ## A density that collapses
#
# Take the smallest example: a single pixel with four levels, drawn with probabilities 0.40, 0.10, 0.35 and 0.15. The best code for it needs its entropy, $H = -\sum_x P(x) \log_2 P(x)$, on average.
#
# We fit a density to the levels themselves, as if they were real numbers: a mixture of four Gaussians, trained by maximum likelihood. **Predict:** what will its average negative log-density become, measured in bits?

# %%
P = torch.tensor([0.40, 0.10, 0.35, 0.15])
ENTROPY = distributions.Categorical(P).entropy().item() / math.log(2)
levels = torch.multinomial(P, 4_000, replacement=True)


def fit_mixture(draw, steps=300):
    """Fits four Gaussians to draw(); returns the mixture at each step, and the loss in bits."""
    logits, log_scales = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    means = torch.tensor([0.4, 1.4, 2.4, 3.4], requires_grad=True)
    optimiser = torch.optim.Adam([logits, means, log_scales], lr=0.05)
    mixtures, losses = [], []
    for _ in range(steps):
        parts = distributions.Normal(means, log_scales.exp())
        mixture = distributions.MixtureSameFamily(distributions.Categorical(logits=logits), parts)
        loss = -mixture.log_prob(draw()).mean() / math.log(2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        mixtures.append(mixture)
        losses.append(loss.item())
    return mixtures, losses


collapsed, collapsed_bits = fit_mixture(lambda: levels.float())
print(f"entropy {ENTROPY:.3f} bits; after {len(collapsed_bits)} steps the density claims {collapsed_bits[-1]:.1f} bits")

# %%
reals = torch.linspace(-0.75, 4.25, 2_001)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2), layout="constrained")
for step in (0, 40, 80):
    left.plot(reals, collapsed[step].log_prob(reals).exp().detach(), label=f"step {step}")
left.plot(range(4), [0] * 4, "k^", clip_on=False, label="levels")
left.set(xlabel="value of the pixel", ylabel="density")
left.legend()
right.plot(collapsed_bits, label="fitted to the levels")
right.axhline(ENTROPY, color="k", ls="--", label="entropy")
right.set(xlabel="step", ylabel="negative log-density (bits)")
right.legend()
alt = "Left: a density grows four spikes on the levels. Right: its loss falls through the entropy, and goes on falling."
figures.save_figure(fig, "05_dequantized_flows_collapse", alt=alt, folder=figures_dir)

# %% [markdown]
# No code can spend less than the entropy, and this density claims to spend fewer than zero bits. The claim is empty. Each Gaussian sits on one level and becomes narrower and narrower. Its height grows without limit, because a density may be as high as it likes where it is narrow. In the end the density is four spikes that say nothing about how probable a level is: the mass of any interval without a level in it is zero.
#
# The mistake is to compare a density at a point with a probability. A flow is a very flexible density, so it would make this mistake on every pixel.

# %% [markdown]
# ## Uniform noise
#
# The repair is to spread each level over an interval. Let $x$ be an integer and $u$ uniform in $[0, 1)$. The density $p$ assigns to the integer the mass
#
# $$P(x) = \int_0^1 p(x + u) \, du = \mathbb{E}_u\, [p(x + u)] .$$
#
# This is **dequantisation** [3]. Training on $x + u$ minimises $-\mathbb{E}_u \log p(x + u)$. By Jensen's inequality
#
# $$\mathbb{E}_u \log p(x + u) \le \log \mathbb{E}_u\, [p(x + u)] = \log P(x),$$
#
# so the training objective is a lower bound of a log-probability of integers. It can never claim fewer bits than the entropy. The bound is tight if $p$ is constant on every interval $[x, x + 1)$.

# %%
noisy, noisy_bits = fit_mixture(lambda: levels + torch.rand(len(levels)))
edges = torch.arange(5.0)
masses = noisy[-1].cdf(edges).diff().detach()  # what the density assigns to each level, exactly
exact = -(P * masses.log2()).sum().item()
u = torch.rand(20_000, 4)
bound = -(P * noisy[-1].log_prob(torch.arange(4) + u).detach().mean(0)).sum().item() / math.log(2)
print(f"entropy {ENTROPY:.3f} <= cost of the levels {exact:.3f} <= bound {bound:.3f} bits")
assert ENTROPY <= exact <= bound

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2), layout="constrained")
left.stairs(P, edges, color="k", lw=1, label="level + uniform noise")
left.plot(reals, noisy[-1].log_prob(reals).exp().detach(), label="fitted density")
left.bar(edges[:-1] + 0.5, masses, width=1, alpha=0.25, label="its mass on each level")
left.set(xlabel="value of the pixel", ylabel="density")
left.legend(fontsize=8)
right.plot(collapsed_bits, label="fitted to the levels")
right.plot(noisy_bits, label="fitted to levels + noise")
right.axhline(ENTROPY, color="k", ls="--", label="entropy")
right.set(xlabel="step", ylabel="negative log-density (bits)", ylim=(ENTROPY - 1.5, None))
right.legend(fontsize=8)
alt = "With noise the loss stays above the entropy. The fitted density is a smooth curve over a histogram with steps."
figures.save_figure(fig, "05_dequantized_flows_uniform", alt=alt, folder=figures_dir)

# %% [markdown]
# With noise, the loss settles above the entropy. There are two gaps, and the printed line shows both. The cost of the levels exceeds the entropy because the masses are not quite right. The bound exceeds the cost of the levels because the density is not constant within a bin. A smooth density cannot follow a histogram with vertical steps, and it pays for every corner.

# %% [markdown]
# ## A density from an invertible network
#
# A flow needs no mixture. It takes an invertible function $f$ and a standard Gaussian on its output $z = f(y)$. The change of variables gives the density of $y$:
#
# $$\log p(y) = \log \mathcal{N}(f(y); 0, I) + \log \left| \det \frac{\partial f(y)}{\partial y} \right| .$$
#
# The determinant says how much $f$ stretches space around $y$. For a general network it is expensive: it costs $O(D^3)$ for $D$ pixels. A **coupling layer** [2] makes it free. A mask divides the pixels into two halves. The first half passes unchanged, and a network computes from it a shift $t$ and a log-scale $s$ for every pixel of the second half:
#
# $$z_1 = y_1, \qquad z_2 = (y_2 + t(y_1)) \odot e^{s(y_1)} .$$
#
# To invert, compute $t$ and $s$ again from $z_1 = y_1$, and undo the second equation. The network itself is never inverted, so it may be anything.

# %%
class Coupling(nn.Module):
    """Keeps the pixels where mask is 1; shifts and scales the others by what a network makes of the kept ones."""

    def __init__(self, mask, num_filters=16):
        super().__init__()
        self.mask = mask  # (1, 1, H, W)
        self.network = nn.Sequential(nn.Conv2d(1, num_filters, 3, padding=1), nn.ELU(), nn.Conv2d(num_filters, 2, 1))
        self.log_bound = nn.Parameter(torch.zeros(1))

    def scale_and_shift(self, y):
        s, t = ((1 - self.mask) * half for half in self.network(y * self.mask).chunk(2, 1))
        bound = self.log_bound.exp()  # no scale leaves exp(-bound) to exp(bound)
        return bound * torch.tanh(s / bound), t

    def forward(self, y):
        s, t = self.scale_and_shift(y)
        return (y + t) * s.exp(), s.sum((1, 2, 3))  # the log-determinant is the sum of the log-scales

    def inverse(self, z):
        s, t = self.scale_and_shift(z)
        return z * (-s).exp() - t

# %% [markdown]
# The log-determinant is a sum because the Jacobian is triangular. Sort the pixels so that the kept ones come first. A kept pixel depends only on itself, which gives a block with ones on the diagonal. A changed pixel depends on itself, with factor $e^s$, and on the kept ones, below the diagonal. The determinant of a triangular matrix is the product of its diagonal. We check both claims, the inverse and the determinant, against automatic differentiation, and the layer against the one of `pixellib`.

# %%
mask = layers.checkerboard_mask(4, 4)
coupling, y = Coupling(mask), torch.randn(3, 1, 4, 4)
z, log_det = coupling(y)
torch.testing.assert_close(coupling.inverse(z), y)
jacobian = torch.func.jacrev(lambda v: coupling(v[None])[0].flatten())(y[0]).reshape(16, 16).detach()
torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[0])

ours = layers.AffineCoupling(coupling.network, mask, channels=1)
torch.testing.assert_close(ours(y), (z, log_det))
assert_invertible(ours, y)  # pixellib's own test does the same, for any layer
print("the inverse and the log-determinant are right")

# %%
order = mask.flatten().argsort(descending=True, stable=True)
pictures = {
    "mask: black pixels are kept": (1 - mask[0, 0], "gray", 0, 1),
    "Jacobian, pixels row by row": (jacobian, "RdBu_r", -1.5, 1.5),
    "Jacobian, kept pixels first": (jacobian[order][:, order], "RdBu_r", -1.5, 1.5),
}
fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
for ax, (title, (matrix, cmap, low, high)) in zip(axes, pictures.items(), strict=True):
    picture = ax.imshow(matrix, cmap=cmap, vmin=low, vmax=high)
    ax.set_title(title)
    ax.grid(False)
for ax in axes[1:]:
    ax.set(xlabel="input pixel", ylabel="output pixel")
fig.colorbar(picture, ax=axes[2], label="derivative")
alt = "A checkerboard, and the Jacobian of a coupling layer: lower triangular once the kept pixels are sorted to the front."
figures.save_figure(fig, "05_dequantized_flows_jacobian", alt=alt, folder=figures_dir)

# %% [markdown]
# In row order the Jacobian looks irregular. With the kept pixels first it is lower triangular: ones in the upper left, zeros in the upper right, and the factors $e^s$ on the rest of the diagonal.
#
# One layer changes half of the pixels. The next uses the opposite mask, so after two layers every pixel has been changed.

# %% [markdown]
# ## A toy whose probabilities can be counted
#
# For real images nobody knows $\log P(x)$, so nobody knows how far a bound is from it. For images of $2 \times 2$ pixels with 4 levels we can list all $4^4 = 256$ images. We give them probabilities that favour the extreme levels and equal neighbours. Two things can then be checked exactly: do the masses of a flow sum to one, and how far is each bound from the entropy?

# %%
every_image = torch.cartesian_prod(*[torch.arange(4)] * 4).view(256, 1, 2, 2)
pixels = every_image.view(256, 2, 2).float()
differences = pixels.diff(dim=1).abs().sum((1, 2)) + pixels.diff(dim=2).abs().sum((1, 2))
extreme = (pixels - 1.5).abs().sum((1, 2))
toy = distributions.Categorical(logits=0.6 * extreme - 0.5 * differences)
toy_images = every_image[toy.sample((8_192,))].to(torch.uint8)
TOY_ENTROPY = toy.entropy().item() / math.log(2) / 4
print(f"entropy {TOY_ENTROPY:.4f} bits per pixel, four levels at most {math.log2(4):.0f}")

# %%
TOY = Settings(steps=400, batch_size=256, learning_rate=4e-3, warmup_steps=20, schedule="cosine", ema_decay=0.98)
toy_flows = {}
for title, couplings in {"uniform noise": 0, "learned noise": 4}.items():
    start = time.time()
    flow = Flow(1, (2, 2), (6,), (12,), num_dequantisation_couplings=couplings, num_dequantisation_filters=8, num_levels=4)
    toy_flows[title] = fit(flow, toy_images, TOY, seed=seed, progress=False, device="cpu").model
    print(f"{title}: {time.time() - start:.0f} s")

# %% [markdown]
# The learned noise is explained in the next section. First the check. For each of the 256 images we draw $M$ noises and average the weights $w_m = p(x + u_m) / q(u_m \mid x)$, where $q$ is the density of the noise. The average is an unbiased estimate of the mass, so the sum over all images should be one within its Monte Carlo error.

# %%
M = 2_048
log_weights = {}
with torch.no_grad():
    for title, flow in toy_flows.items():
        log_weights[title] = flow.log_weights(every_image, M).double()  # (M, 256)
        totals = log_weights[title].exp().sum(1)  # one estimate of the total mass for every m
        total, error = totals.mean().item(), totals.std().item() / math.sqrt(M)
        print(f"{title}: the 256 masses sum to {total:.3f} ± {error:.3f}")
        assert abs(total - 1) < 4 * error

# %%
counts = [4**k for k in range(6)]
fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
rows = []
for title, weights in log_weights.items():
    bits = []
    for count in counts:
        bound = weights.view(-1, count, 256).logsumexp(1) - math.log(count)  # (M / count, 256)
        bits.append(-(toy.probs * bound.mean(0)).sum().item() / math.log(2) / 4)
    ax.semilogx(counts, bits, "o-", base=4, label=title)
    rows.append({"noise": title} | {f"M = {count}": f"{b:.4f}" for count, b in zip(counts, bits, strict=True)})
ax.axhline(TOY_ENTROPY, color="k", ls="--", label="entropy")
ax.set(xlabel="noises drawn for each image, M", ylabel="bits per pixel")
ax.legend()
alt = "The bound falls towards the cost of the integers as more noises are drawn; the learned noise starts closer to it."
figures.save_figure(fig, "05_dequantized_flows_toy", alt=alt, folder=figures_dir)
pd.DataFrame(rows).set_index("noise")

# %% [markdown]
# The bound tightens as $M$ grows, exactly as in [notebook 01](01_iwae.ipynb): the noise plays the part of the latent variable, and $q$ that of the encoder. The last column is close to what the flow really spends on the integers. What then remains above the dashed line is the error of the flow itself. The difference between the first and the last column is the price of dequantisation, and the learned noise reduces it.

# %% [markdown]
# ## Learned noise
#
# Uniform noise gives a histogram with vertical steps. Nothing forces us to use it. For *any* density $q(u \mid x)$ on $[0, 1]$
#
# $$\log P(x) = \log \mathbb{E}_{u \sim q} \frac{p(x + u)}{q(u \mid x)} \ge \mathbb{E}_{u \sim q} [\log p(x + u) - \log q(u \mid x)] ,$$
#
# and $q$ can be learned together with $p$, as an encoder is. This is **variational dequantisation** [4]. The bound is tight when $q(u \mid x)$ is proportional to $p(x + u)$.
#
# So the noise can take the shape that the model finds easy. Suppose that the flow would like a smooth density. Then $q$ can make it smooth, as long as every level keeps its mass. For our pixel with four levels we can draw such a density. Cut a standard Gaussian into four slices with areas 0.40, 0.10, 0.35 and 0.15. Each level owns one slice. The slices have unequal widths, and no step is left.

# %%
normal = distributions.Normal(0.0, 1.0)
cuts = normal.icdf(torch.cat([torch.zeros(1), P]).cumsum(0).clamp(1e-4, 1 - 1e-4))
fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3), layout="constrained")
for level in range(4):
    colour = figures.PALETTE[level]
    left.fill_between([level, level + 1], P[level], color=colour, alpha=0.6)
    z = torch.linspace(cuts[level], cuts[level + 1], 100)
    right.fill_between(z, normal.log_prob(z).exp(), color=colour, alpha=0.6, label=f"level {level}: area {P[level]:.2f}")
left.set(xlabel="level + uniform noise", ylabel="density", title="equal widths, unequal heights")
right.set(xlabel="latent z", ylabel="density", title="unequal widths under one smooth curve")
right.legend(fontsize=8)
alt = "Four bars of width one, and a bell curve cut into four slices whose areas are those of the bars."
figures.save_figure(fig, "05_dequantized_flows_slices", alt=alt, folder=figures_dir)

# %% [markdown]
# Both pictures hold the same four probabilities. On the left a flow would have to map the steps onto a Gaussian, which takes a function with kinks at the integers. On the right the noise is chosen such that a smooth function is enough.
#
# In `pixellib` the noise comes from a small flow of its own: logistic noise, four coupling layers that also see the image, and a sigmoid that brings the result into $[0, 1]$.

# %% [markdown]
# ## Four flows for digits
#
# We follow the UvA deep learning tutorial 11 [5], whose four models have published values:
#
# - **uniform noise**: eight coupling layers with checkerboard masks at full resolution;
# - **learned noise**: the same, with four coupling layers that make the noise;
# - **three scales**, with either noise: two coupling layers at full resolution, then twice a *squeeze*, which turns blocks of $2 \times 2$ pixels into channels. Half of the channels leave for the Gaussian before the second squeeze, and only the other half is processed further. This is called a *split*.
#
# Squeeze and split together take four lines, and neither needs a determinant: the first only moves numbers, and the second only decides when a number meets the Gaussian.

# %%
def squeeze(y):
    """(B, C, H, W) -> (B, 4 C, H / 2, W / 2)"""
    b, c, h, w = y.shape
    return y.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


y = torch.randn(2, 1, 8, 8)
torch.testing.assert_close(squeeze(y), layers.Squeeze()(y)[0])
leaves, stays = squeeze(y).chunk(2, dim=1)  # the split: the first half is finished
again, _ = layers.Squeeze()(stays)
print(f"{tuple(y.shape)} -> {tuple(leaves.shape)} leave, {tuple(stays.shape)} stay -> {tuple(again.shape)}")

# %%
models = {name: runs.get(name).load_or_train(profile, retrain=retrain, device=device, seed=seed) for name in NAMES}

# %%
scales = models["flow-multi-vardeq"].scales
fig, ax = plt.subplots(figsize=(9.6, 2.6), layout="constrained")
ax.set(xlim=(-0.6, 5.1), ylim=(-1.15, 0.75))
ax.axis("off")
boxes = ["image\n1 x 28 x 28", "+ noise,\nlogit"]
for scale in scales:
    shape = " x ".join(map(str, scale.inside))
    boxes.append(f"{'squeeze, ' if scale.squeeze else ''}{len(scale.couplings)} couplings\n{shape}")
for i, text in enumerate([*boxes, "Gaussian"]):
    ax.text(i, 0.3, text, ha="center", va="center", fontsize=9, bbox={"boxstyle": "round,pad=0.5", "fc": "white"})
    if i:
        ax.annotate("", (i - 0.36, 0.3), (i - 0.62, 0.3), arrowprops={"arrowstyle": "->"})
for i, scale in enumerate(scales):
    if scale.leaving:
        ax.annotate("", (i + 2, -0.6), (i + 2, 0.0), arrowprops={"arrowstyle": "->"})
        text = f"{scale.leaving} channels leave: Gaussian"
        ax.text(i + 2, -0.8, text, ha="center", va="center", fontsize=9, bbox={"boxstyle": "round,pad=0.5", "fc": "white"})
alt = "The flow of three scales: noise and logit, couplings, squeeze, couplings, half of the channels leave, squeeze, couplings."
figures.save_figure(fig, "05_dequantized_flows_scales", alt=alt, folder=figures_dir)

# %% [markdown]
# Before the couplings, dequantised pixels are divided by 256 and sent through a logit, because a Gaussian needs the whole real line and pixels live in an interval. The logit has a log-determinant too, and the library counts it.

# %%
fig, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
for (name, title), colour in zip(NAMES.items(), figures.PALETTE, strict=False):
    record = models[name].record
    seen = [row["step"] * record["settings"]["batch_size"] / 60_000 for row in record["history"]]
    ax.plot(seen, [row["validation_bits"] for row in record["history"]], "o-", ms=3, color=colour, label=title)
    ax.axhline(runs.get(name).anchor[0], color=colour, ls=":", lw=1)
ax.set(xlabel="passes over the training images", ylabel="validation bits per dimension")
ax.legend(title="dotted: published, after 200 passes", fontsize=8)
alt = "Validation bits per dimension of the four flows while they train, with the published values as dotted lines."
figures.save_figure(fig, "05_dequantized_flows_training", alt=alt, folder=figures_dir)

# %%
PUBLISHED = {  # an RTX 3090, 200 passes: train, validation, test in bits per dimension, ms per image
    "flow-simple": (1.0794, 1.0801, 1.0786, 4.1067),
    "flow-vardeq": (1.0381, 1.0413, 1.0392, 5.5446),
    "flow-multi-simple": (1.0820, 1.0876, 1.0855, 2.6471),
    "flow-multi-vardeq": (1.0056, 1.0218, 1.0201, 4.0657),
}
test = runs.get("flow-simple").images("test", profile).to(device)


@torch.no_grad()
def milliseconds(model, batch=64, rounds=3):
    """For the bound of one image with one noise, in batches: the quickest of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        model.log_weights(test[:batch], 1).cpu()
        times.append(time.perf_counter() - start)
    return 1_000 * min(times) / batch

# %%
table = []
for name, title in NAMES.items():
    record, bits = models[name].record, {}
    for row in record["results"]:  # the last row of a split has the most noises
        bits[row["split"]] = f"{row['bits_per_dim']:.3f}"
        bits[f"{row['split']} M"] = row["num_samples"] or 1
    *published, published_ms = PUBLISHED[name]
    table.append({
        "flow": title, "parameters": f"{record['parameters']:,}", "images seen": f"{record['images_seen']:,}",
        "train": bits["train"], "validation": bits["validation"], "test": f"{bits['test']} (M = {bits['test M']})",
        "ms": f"{milliseconds(models[name]):.1f}", "published": " / ".join(f"{b:.3f}" for b in published),
        "published ms": f"{published_ms:.1f}",
    })  # fmt: skip
pd.DataFrame(table).set_index("flow")

# %% [markdown]
# Bits per dimension; "published" gives train, validation and test. Our milliseconds are for the bound of one image with $M = 1$ in batches of 64 on this machine. The source of the published values is the table of a public implementation with the layers of the tutorial; it states neither the unit of its batch nor the number of noises behind its times, so the two columns of times say little about each other. Its table also exchanges two numbers of parameters: counted from the layers, the model with learned noise at one scale has 628,388 and the one with three scales and uniform noise 1,639,742.

# %%
few = test[: 16 if profile == "quick" else 128]
counts = [1, 2, 4, 8, 16, 32]
fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for name, title in NAMES.items():
    with torch.no_grad():
        weights = models[name].log_weights(few, max(counts)).double().cpu()
    bounds = [(weights.view(-1, m, len(few)).logsumexp(1) - math.log(m)).mean().item() for m in counts]
    ax.semilogx(counts, [-b / math.log(2) / 784 for b in bounds], "o-", base=2, label=title)
ax.set(xlabel="noises drawn for each image, M", ylabel="bits per dimension")
ax.legend(fontsize=8)
alt = "The bound of the four flows against the number of noises."
figures.save_figure(fig, "05_dequantized_flows_bound", alt=alt, folder=figures_dir)

# %% [markdown]
# PLACEHOLDER: what the bound against M shows.

# %% [markdown]
# ## What the noise looks like
#
# What does a flow see between two integers? We add each model's noise to test images and count where the numbers fall, in steps of a sixteenth of a level, among the brightest levels. Below, we keep one image fixed, move a single grey pixel continuously through neighbouring levels, and draw the density that the flow gives to the image.

# %%
@torch.no_grad()
def dequantised(model, x):
    return (x + model.dequantisation(x, 256)[0]).cpu()


@torch.no_grad()
def profile_of(model, x, row, column, values):
    """log2 density of dequantised x, (1, 1, 28, 28), as one pixel takes the values; the other pixels in mid-bin."""
    y = (x.float() + 0.5).repeat(len(values), 1, 1, 1)
    y[:, 0, row, column] = values
    logit = layers_logit(y / 256)
    z, log_det = model.to_latent(logit)
    return ((log_det - 0.5 * z.square().sum(1)) / math.log(2)).cpu()

# %% [markdown]
# PLACEHOLDER: what the figure shows.

# %% [markdown]
# ## Samples
#
# To draw an image, draw $z$ from the Gaussian, run the flow backwards, and round down to an integer.

# %%
columns = 12
rows, labels = [test[:columns].cpu()], ["test images"]
for name, title in NAMES.items():
    generator = torch.Generator(device).manual_seed(seed)
    rows.append(models[name].sample(2 * columns, generator=generator).cpu())
    labels += [title, ""]
fig = figures.image_figure(torch.cat(rows), columns=columns, rows=labels, width=9.6)
alt = "A row of test digits, and two rows of samples of each of the four flows."
figures.save_figure(fig, "05_dequantized_flows_samples", alt=alt, folder=figures_dir)

# %% [markdown]
# PLACEHOLDER: samples.
