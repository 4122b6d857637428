import { TrainyardError } from '../../base/errors.js';
import { quote } from '../../base/printable.js';

/** A training that a cluster's scheduler is to start. */
export interface ClusterJob {
  readonly name: string;
  readonly hosts: number;
  readonly ranksPerHost: number;
  readonly gpusPerHost?: number | undefined;
  /** `train` and its arguments. */
  readonly arguments: readonly string[];
}

/** Short enough for Kubernetes to make the names of pods from it, and plain enough for a line of `#SBATCH`. */
export function demandJobName(name: string): void {
  if (/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) return;
  throw new TrainyardError('USAGE', {
    what: 'This cannot be the name of a job.',
    where: '--name',
    expected: 'up to 40 small letters, digits and -, a letter first and no - last',
    got: quote(name),
  });
}
