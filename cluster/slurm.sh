#!/bin/bash
# Slurm: a job whose nodes are a Ray cluster for the time of one study.  `ray symmetric-run` starts Ray on every node,
# runs the study on the first, and stops Ray again; so the nodes are not shared.
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
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address="$head:$((20000 + SLURM_JOB_ID % 10000))"
srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_NNODES" --dashboard-host=127.0.0.1 \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- pcdarts run "$@" --address "$address" --set run.wait=true    # a driver that died holds the study for two minutes
