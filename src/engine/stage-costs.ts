import type { ProcessGroup } from '../comm/process-group.js';
import type { Model } from '../nn/block.js';
import type { BlockCosts } from '../step/block-meter.js';
import { tryBlocks } from './compile-step.js';
import type { ResolvedConfig } from './config.js';
import { gatherBytes } from './gather-bytes.js';

/** What is measured, and of which micro-batches. */
export interface StageCostsOf {
  readonly config: ResolvedConfig;
  readonly model: Model;
  readonly sequenceLength: number;
}

/**
 * What blocks cost, where the division into stages goes by it: of each block the longest time on any rank, so that all
 * divide in the same way. Every rank must call it.
 */
export function stageCosts(group: ProcessGroup, of: StageCostsOf): readonly BlockCosts[] | undefined {
  const { mesh, pipeline } = of.config;
  if (mesh.pipeline === 1 || pipeline.partition !== 'profile') return undefined;
  return withLongestTimes(group, tryBlocks(of));
}

/** Of each block the longest time on any rank. */
export function withLongestTimes(group: ProcessGroup, costs: readonly BlockCosts[]): readonly BlockCosts[] {
  const own = new Uint8Array(Float64Array.from(costs, ({ forwardMs }) => forwardMs).buffer);
  const times = gatherBytes(group, own).map((bytes) => new Float64Array(bytes.slice().buffer));
  return costs.map((cost, block) => ({
    ...cost,
    forwardMs: Math.max(...times.map((ofRank) => ofRank[block] ?? 0)),
  }));
}
