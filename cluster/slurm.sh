#!/bin/bash
# Slurm: a job whose nodes are a Ray cluster for the time of one study.  A job step runs Ray on every node, this script
# runs the study on the first, and when it ends, Slurm ends the step.
#   pcdarts cluster init slurm            fills in what is marked EDIT
#   sbatch slurm.sh cifar10 --data-dir /shared/data --gpus-per-trial 0.5
#SBATCH --job-name=pcdarts
# EDIT nodes: machines
#SBATCH --nodes=2
# EDIT cpus: CPUs of a machine
#SBATCH --cpus-per-task=16
# EDIT gpus: GPUs of a machine
#SBATCH --gpus-per-node=4
# EDIT time: longest run, in Slurm's format; a study that is submitted again resumes
#SBATCH --time=24:00:00
# EDIT partition: where it runs
#SBATCH --partition=EDIT
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0        # all memory of the nodes, which --exclusive alone does not give
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# EDIT project: checkout with its .venv (`make setup`), on a file system that all nodes mount
project=/shared/pcdarts-orchestrator
# EDIT storage: folder of the studies, on a file system that all nodes mount
export PCDARTS_STORAGE=/shared/studies

export PATH="$project/.venv/bin:$PATH"
# Without the token in ~/.ray/auth_token (`pcdarts cluster init` makes it, mode 0600) Ray does not start.
export RAY_AUTH_MODE=token
# Ray's metrics would answer anyone, without the token: these have no port.
export RAY_enable_metrics_collection=0 AUTOSCALER_METRIC_PORT=-1 DASHBOARD_METRIC_PORT=-1

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export address="$head:$((20000 + SLURM_JOB_ID % 10000))"
export patience=300    # seconds that Ray may take to start on all nodes

# What every node runs.  If Ray cannot start, the job ends.  If it ends later, the study continues on the other nodes.
node() {
    local code=0
    if [ "$SLURM_NODEID" = 0 ]; then
        ray start --block --head --port="${address#*:}" --dashboard-host=127.0.0.1 "$@" || code=$?
    else
        until (: > "/dev/tcp/${address/://}") 2>/dev/null; do
            [ "$SECONDS" -lt "$patience" ] || { echo "slurm.sh: $HOSTNAME cannot connect to $address" >&2; exit 1; }
            sleep 1
        done
        ray start --block --address="$address" "$@" || code=$?
    fi
    [ "$SECONDS" -ge "$patience" ] || exit "$code"
}
export -f node

until_complete() {
    until [ "$(ray status --address "$address" 2>/dev/null | grep -c ' node_')" = "$SLURM_NNODES" ]; do
        [ "$SECONDS" -lt "$patience" ] || return 1
        sleep 1
    done
}

trap 'exit 143' TERM
trap 'jobs -p | xargs -r kill' EXIT
srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 --wait=0 \
    bash -c 'node "$@"' node --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &
until_complete &
if ! wait -n; then
    echo "slurm.sh: Ray did not start on all $SLURM_NNODES nodes; the messages above say why" >&2
    exit 1
fi
# When Slurm ends the job early (scancel, requeue, time limit), it signals the driver as well: wait until that has ended.
trap : TERM
pcdarts run "$@" --address "$address" --set run.wait=true    # a driver that died holds it for two minutes
