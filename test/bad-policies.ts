import type { BadConfiguration } from './bad-configurations.js';

/** Makes a row of what is impossible together: a name, keys, the number of ranks, and what the error must say. */
type MakeRow = (name: string, keys: object, ranks: number, ...says: string[]) => BadConfiguration;

/** What `non_finite` does not go together with. */
export function badPolicies(row: MakeRow): BadConfiguration[] {
  return [
    row(
      'two policies for numbers that are not finite',
      { non_finite: { action: 'skip' }, bf16: { enabled: true, check_grad_overflow: false } },
      1,
      'bf16.check_grad_overflow',
    ),
    row(
      'replicas that would skip steps',
      { non_finite: { action: 'skip' }, redundancy: { type: 'local', sync_every: 4 } },
      2,
      'non_finite.action',
    ),
    row('a rewind to nowhere', { non_finite: { action: 'rewind' } }, 1, 'non_finite.action', 'output'),
    row(
      'a limit of a run that stops at once',
      { non_finite: { action: 'stop', limit: 2 } },
      1,
      'non_finite.limit',
    ),
  ];
}
