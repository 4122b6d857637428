import assert from 'node:assert/strict';
import type { StepResult } from '../src/engine/step-result.js';
import type { Account } from '../src/step/effects/effect-table.js';
import { runRanks } from './run-ranks.js';

export type Settings = Readonly<Record<string, unknown>>;

/** What one rank of `precision-program.ts` tells at its end. */
export interface Outcome {
  readonly results: readonly Omit<StepResult, 'milliseconds' | 'exposedCommunicationMs' | 'exchangedBytes'>[];
  readonly sent: readonly number[];
  readonly collectives: readonly { readonly kind: string; readonly sentBytes: number }[];
  readonly ledger: Readonly<Record<Account, number>>;
  readonly optimizerBytes: number;
  readonly parameters: number;
  readonly weights: string;
}

/** Runs the program on all ranks; fails unless all end alike. */
export async function outcomes(ranks: number, config: Settings, task: Settings): Promise<readonly Outcome[]> {
  const whole = {
    train_batch_size: 6,
    gradient_clipping: 0.5,
    optimizer: { type: 'AdamW', params: { lr: 0.01, weight_decay: 0.1 } },
    scheduler: { type: 'WarmupLR', params: { warmup_num_steps: 4, warmup_max_lr: 0.01 } },
    communication: { deterministic: true },
    // Sums that are rounded once more on their way, as those of stage 0 are, would set the stages apart.
    communication_data_type: 'fp32',
    ...config,
  };
  const args = [whole, task].map((each) => JSON.stringify(each));
  const found = await runRanks<Outcome>('precision-program.js', ranks, args);
  for (const { results, weights } of found) {
    assert.deepEqual(results, found[0]?.results, 'the ranks disagree');
    assert.equal(weights, found[0]?.weights, 'the ranks have different weights');
  }
  return found;
}
