import { type ClusterJob, demandJobName } from './job.js';

/**
 * A file for `sbatch`: one task of srun is one rank. Slurm's variables say which, and the first node is where they meet.
 *
 * @param program the words that start trainyard on the nodes
 */
export function slurmScript(job: ClusterJob, program: readonly string[]): string {
  demandJobName(job.name);
  const { name, hosts, ranksPerHost, gpusPerHost } = job;
  const words = [...program, ...job.arguments].map(shellQuoted);
  return [
    '#!/bin/bash',
    `#SBATCH --job-name=${name}`,
    `#SBATCH --nodes=${hosts}`,
    `#SBATCH --ntasks-per-node=${ranksPerHost}`,
    ...(gpusPerHost === undefined ? [] : [`#SBATCH --gpus-per-node=${gpusPerHost}`]),
    '# Two minutes before the time is over: save and leave.',
    '#SBATCH --signal=TERM@120',
    '#SBATCH --open-mode=append',
    'set -euo pipefail',
    '',
    '# What others would have to know to join the ranks.',
    'TRAINYARD_RUN_ID="$(od -An -N16 -tx1 /dev/urandom | tr -d \' \\n\')"',
    'export TRAINYARD_RUN_ID',
    '',
    '# Ranks find out by themselves when one has failed; one that leaves first must not keep others from saving.',
    `exec srun --kill-on-bad-exit=0 --wait=600 ${words.join(' ')}`,
    '',
  ].join('\n');
}

/** Nothing inside single quotes means anything to a shell, and a single quote is left for a moment. */
function shellQuoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
