import { writeFileSync } from 'node:fs';
import { TrainyardError } from '../../base/errors.js';
import type { ClusterJob } from '../launch/job.js';
import { kubernetesManifest } from '../launch/kubernetes.js';
import { slurmScript } from '../launch/slurm.js';
import { mainProgram } from './supervise-ranks.js';
import { settings } from './supervise-training.js';

export interface LaunchOptions {
  readonly emit: 'kubernetes' | 'slurm';
  readonly hosts: number;
  readonly ranksPerHost: number;
  readonly gpusPerHost?: number;
  readonly name: string;
  readonly image?: string;
  readonly set?: readonly string[];
  readonly resume?: boolean;
  readonly output?: string;
}

/** Writes what a scheduler needs to start a training on several hosts; starts nothing itself. */
export function launch(config: string, options: LaunchOptions): void {
  const text = textFor(options, {
    ...options,
    arguments: [
      'train',
      ...settings(options.set ?? []),
      ...(options.resume ? ['--resume'] : []),
      '--',
      config,
    ],
  });
  if (options.output === undefined) process.stdout.write(text);
  else write(options.output, text);
}

function textFor({ emit, image }: LaunchOptions, job: ClusterJob): string {
  switch (emit) {
    case 'kubernetes':
      return kubernetesManifest(job, image);
    case 'slurm':
      if (image !== undefined) {
        throw new TrainyardError('USAGE', {
          what: '--image is for Kubernetes.',
          cure: 'leave it out: Slurm runs what is installed on its nodes',
        });
      }
      return slurmScript(job, [process.execPath, mainProgram()]);
    default:
      return emit satisfies never;
  }
}

/** The manifest holds the run's secret: for its owner alone. */
function write(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (error) {
    throw new TrainyardError('OUTPUT_UNUSABLE', {
      what: 'The file cannot be written.',
      where: `--output ${path}`,
      got: error instanceof Error ? error.message : String(error),
    });
  }
}
