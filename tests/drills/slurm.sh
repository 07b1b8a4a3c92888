#!/bin/bash
# A real Slurm of one node for as long as a command runs: slurm.sh FOLDER COMMAND...
# Run it as root within `unshare --mount`, so that the files it puts under /etc and /run are seen by nobody else.
set -e
folder=$1
shift
mkdir -p "$folder/controller" "$folder/node" /etc/slurm
mount -t tmpfs tmpfs /etc/slurm
mount -t tmpfs tmpfs /run
mkdir /run/munge
chown munge: /run/munge
cat > /etc/slurm/slurm.conf <<END
ClusterName=drill
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/node
SlurmctldPidFile=/run/controller.pid
SlurmdPidFile=/run/node.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 RealMemory=10000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
runuser -u munge -- munged --foreground 2> "$folder/munge.log" &
slurmctld -D 2> "$folder/controller.log" &
slurmd -D -N "$(hostname)" 2> "$folder/node.log" &
trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT
for _ in $(seq 60); do
    sinfo --noheader --format=%t 2> /dev/null | grep -q idle && break
    sleep 0.5
done
"$@"
