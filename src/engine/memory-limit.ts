import { TrainyardError } from '../base/errors.js';
import type { ResolvedConfig } from './config.js';

/** A change of a configuration that may bring a run inside its limit. */
interface Remedy {
  /** What is changed, as one would write it. */
  readonly keys: readonly string[];
  readonly config: ResolvedConfig;
}

/** What a run takes and what it may take. */
export interface MemoryQuestion {
  readonly config: ResolvedConfig;
  /** The highest peak of all ranks. */
  readonly peakBytes: number;
  /** What a process has beside the tensors of its program. */
  readonly processBytes: number;
  /** The highest peak of a run with another configuration. */
  readonly peakWith: (config: ResolvedConfig) => number;
}

/**
 * Refuses a run that does not fit `memory_limit`, by how much, and with the keys that would make it fit: the program of
 * each is compiled to see.
 *
 * @throws TrainyardError CONFIG_CONFLICT
 */
export function demandMemory({ config, peakBytes, processBytes, peakWith }: MemoryQuestion): void {
  const { memory_limit: limit } = config;
  const needed = peakBytes + processBytes;
  if (limit === undefined || needed <= limit) return;
  const tried = remediesFor(config).map(({ keys, config: changed }) => ({
    keys,
    bytes: peakWith(changed) + processBytes,
  }));
  const fitting = tried.filter(({ bytes }) => bytes <= limit);
  const least = [...tried].sort((left, right) => left.bytes - right.bytes)[0];
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: `A rank would take ${inMebibytes(needed - limit)} more than memory_limit allows it.`,
    where: 'memory_limit',
    expected: `at least ${needed} bytes; \`trainyard program\` prints what takes them`,
    got: `${limit} bytes`,
    cure: cureOf(fitting, least),
  });
}

interface Tried {
  readonly keys: readonly string[];
  readonly bytes: number;
}

function isPartOf(some: readonly string[], all: readonly string[]): boolean {
  return some.length < all.length && some.every((key) => all.includes(key));
}

function cureOf(fitting: readonly Tried[], least: Tried | undefined): string {
  if (fitting.length > 0) {
    // What fits already need not be changed further.
    const ways = fitting
      .filter(({ keys }) => !fitting.some((other) => isPartOf(other.keys, keys)))
      .map(({ keys, bytes }) => `${keys.join(', ')} (${inMebibytes(bytes)})`);
    return `It fits with ${ways.join(', or with ')}.`;
  }
  const smaller = 'Take a smaller micro-batch, more ranks, or raise the limit.';
  return least === undefined
    ? smaller
    : `With ${least.keys.join(', ')} it takes ${inMebibytes(least.bytes)}. ${smaller}`;
}

/** Tiles of an update of which one is read, one updated and one written. */
const FEW_TILES = 3;

/** From the least change to the greatest, each with those before it. */
function remediesFor(config: ResolvedConfig): readonly Remedy[] {
  const { zero_optimization: zero, recompute } = config;
  const path = '/local_nvme';
  const states = { ...zero.offload_optimizer, device: 'nvme', nvme_path: path } as const;
  const weights = { ...zero.offload_param, device: 'nvme', nvme_path: path } as const;
  const recomputed: Remedy | undefined =
    recompute.policy === 'none'
      ? {
          keys: ['recompute.policy "always"'],
          config: { ...config, recompute: { policy: 'always', granularity: 'block' } },
        }
      : undefined;
  const withRecompute = ({ keys, config: changed }: Remedy): Remedy => ({
    keys: [...(recomputed?.keys ?? []), ...keys],
    config: { ...changed, recompute: recomputed?.config.recompute ?? recompute },
  });
  const optimizer: ResolvedConfig = {
    ...config,
    zero_optimization: { ...zero, stage: zero.stage === 0 ? 1 : zero.stage, offload_optimizer: states },
  };
  const everything: ResolvedConfig = {
    ...config,
    zero_optimization: { ...zero, stage: 3, offload_optimizer: states, offload_param: weights },
  };
  const mayOffload = config.optimizer.type !== 'OneBitAdam' && config.redundancy === undefined;
  const isWhole = config.mesh.pipeline === 1 && config.mesh.tensor === 1;
  const stage = zero.stage === 0 ? ['zero_optimization.stage 1'] : [];
  const stage3 = zero.stage === 3 ? [] : ['zero_optimization.stage 3'];
  const updated = zero.offload_optimizer;
  const withStates = (changed: Partial<typeof updated>): ResolvedConfig => ({
    ...config,
    zero_optimization: { ...zero, offload_optimizer: { ...updated, ...changed } },
  });
  const moves: readonly Remedy[] = [
    ...(updated.device !== 'none' && updated.overlap_step
      ? [{ keys: ['offload_optimizer.overlap_step false'], config: withStates({ overlap_step: false }) }]
      : []),
    ...(updated.device !== 'none' && updated.ratio < 1
      ? [{ keys: ['offload_optimizer.ratio 1'], config: withStates({ ratio: 1 }) }]
      : []),
    ...(updated.device === 'nvme' ? fewerTiles([], config) : []),
    ...(zero.offload_optimizer.device === 'nvme'
      ? []
      : withFewerTiles({ keys: [...stage, 'offload_optimizer.device "nvme"'], config: optimizer })),
    ...(zero.offload_param.device === 'nvme'
      ? []
      : withFewerTiles({
          keys: [...stage3, 'offload_optimizer and offload_param with device "nvme"'],
          config: everything,
        })),
  ];
  const alone = recomputed === undefined ? [] : [recomputed];
  if (!mayOffload || !isWhole) return alone;
  return [...alone, ...moves, ...(recomputed === undefined ? [] : moves.map(withRecompute))];
}

/** A remedy that takes tiles, and the same with fewer of them. */
function withFewerTiles(remedy: Remedy): readonly Remedy[] {
  return [remedy, ...fewerTiles(remedy.keys, remedy.config)];
}

function fewerTiles(keys: readonly string[], config: ResolvedConfig): readonly Remedy[] {
  const { zero_optimization: zero } = config;
  if (zero.offload_optimizer.buffer_count <= FEW_TILES) return [];
  const states = { ...zero.offload_optimizer, buffer_count: FEW_TILES };
  return [
    {
      keys: [...keys, `offload_optimizer.buffer_count ${FEW_TILES}`],
      config: { ...config, zero_optimization: { ...zero, offload_optimizer: states } },
    },
  ];
}

function inMebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString('en-US')} MiB`;
}
