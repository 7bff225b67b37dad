#!/bin/bash
# A SLURM array whose tasks fill one store; each takes the next documents that no other has, so there
# may be any number of tasks, at any time.
#   sbatch docs/clusters/slurm.sh --config my_run.yaml --trainer.default_root_dir /shared/runs/wiki
# A task that is pre-empted, or comes to its time limit, saves what is finished and is put back into
# the queue; a task that fails for another reason is not.
#SBATCH --job-name=prag
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=prag-%A_%a.log
# SIGTERM to this script a minute before the time limit.
#SBATCH --signal=B:TERM@60

# bash is where SLURM's signal arrives; it runs no trap while it waits for a program in front.
trap 'kill -TERM "$pid"' TERM
prag fit "$@" &
pid=$!
wait "$pid"
status=$?
# The trap ended the first wait, and the run is saving.
while kill -0 "$pid" 2>/dev/null; do
  wait "$pid"
  status=$?
done

# 143: asked to stop. 75: a disk or a server failed. Both go on where they were.
if [[ $status == 143 || $status == 75 ]] && ((${SLURM_RESTART_COUNT:-0} < 20)); then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
