import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Choice, predictSeconds } from '../src/comm/choose-algorithm.js';
import type { CommunicationCosts } from '../src/comm/communication-costs.js';
import { hostsOfSize } from '../src/comm/topology.js';
import type { UserConfig } from '../src/engine/config.js';
import { namespacesRefusal, resultsOnHosts, runOnHosts } from './network-hosts.js';
import type { Report, SumTask, Task, TimedSums } from './network-hosts-program.js';
import type { CountedStep, TrainingTask } from './network-hosts-training.js';
import { linkNames, type NetworkSpec } from './network-layout.js';

// Hosts that are network namespaces of this machine, joined by links of which the kernel limits the rate and counts the bytes.

const RANKS_PER_HOST = 2;
const MIB = 2 ** 20;

/** In seconds: to measure with messages of 4 MiB would take longer. */
const MOST_CONNECTING = 10;

/**
 * Of a packet of 1,514 bytes 66 are headers; every other one, or each that finds nothing to go with, is answered by 66 the
 * other way. Together that is within 8 %.
 */
const HEADERS = 66 / 1448 + 0.005;
const ANSWERS = 66 / (2 * 1448) + 0.005;
/** In bytes for each sum: barriers, and the beginnings of messages. */
const LITTLE = 40_000;

const NOTHING = { start: 0, perByte: 0 };

const refusal = namespacesRefusal();

describe('several hosts', { concurrency: 1, skip: refusal ?? false }, () => {
  test('2 hosts by a switch: each algorithm sends what it should, and hierarchical is as much faster as predicted', async (t) => {
    const network = { hosts: 2, joining: 'switch', megabitsPerSecond: 50 } as const;
    const timed = { bytes: 4 * MIB, repetitions: 2 };
    const counted = { bytes: MIB, repetitions: 1 };
    const sums = await sumsOn(t, network, {
      'bidirectional-ring': counted,
      'halving-doubling': counted,
      ring: timed,
      hierarchical: timed,
      auto: timed,
    });
    // A flat ring leaves a host by one of its ranks; lanes share that out: 2(H−1)/H of an L-th from each of L.
    sums.sends('ring', 2 * (3 / 4));
    sums.sends('bidirectional-ring', 2 * (3 / 4));
    sums.sends('hierarchical', 2 * (1 / 2));
    sums.sends('halving-doubling', 2 * (1 / 2));
    sums.isFaster('hierarchical', 'ring', 0.15);
    // As few bytes as hierarchical sends, by that or in another way.
    sums.sends('auto', 2 * (1 / 2));
    sums.choosesWell('hierarchical');
  });

  test('4 hosts by a switch: the same', async (t) => {
    const network = { hosts: 4, joining: 'switch', megabitsPerSecond: 25 } as const;
    const timed = { bytes: 4 * MIB, repetitions: 1 };
    const sums = await sumsOn(t, network, { ring: timed, hierarchical: timed, auto: timed });
    sums.sends('ring', 2 * (7 / 8));
    sums.sends('hierarchical', 2 * (3 / 4));
    sums.isFaster('hierarchical', 'ring', 0.2);
    sums.choosesWell('hierarchical');
  });

  test('4 hosts with a link to each neighbour: both ways round is as much faster as predicted, and chosen', async (t) => {
    const network = { hosts: 4, joining: 'ring', megabitsPerSecond: 25 } as const;
    const timed = { bytes: 4 * MIB, repetitions: 1 };
    const sums = await sumsOn(t, network, { ring: timed, 'bidirectional-ring': timed, auto: timed });
    sums.sends('ring', 2 * (7 / 8), { next: 1, previous: 0 });
    sums.sends('bidirectional-ring', 2 * (7 / 8), { next: 1 / 2, previous: 1 / 2 });
    sums.isFaster('bidirectional-ring', 'ring', 0.2);
    sums.choosesWell('bidirectional-ring');
    sums.sends('auto', 2 * (7 / 8), { next: 1 / 2, previous: 1 / 2 });
  });

  test('ZeRO++ sends a quarter of what 16 bits take, and the scales of its blocks', async () => {
    const quantized = { zero_quantized_weights: true, zero_quantized_gradients: true };
    const settings: readonly NonNullable<UserConfig['zero_optimization']>[] = [
      {},
      { zero_quantized_weights: true },
      quantized,
      { ...quantized, zero_hpz_partition_size: RANKS_PER_HOST },
    ];
    const ranks = await resultsOnHosts<readonly CountedStep[]>({
      network: { hosts: 2, joining: 'switch' },
      ranksPerHost: RANKS_PER_HOST,
      program: join(import.meta.dirname, 'network-hosts-training.js'),
      args: [JSON.stringify({ configs: settings.map(stage3), links: ['uplink'] } satisfies TrainingTask)],
    });
    /** In bytes, of an element: as it is; a byte, or half of one, and a scale of four for every 128. */
    const [fp32, int8, int4] = [4, 1 + 4 / 128, 1 / 2 + 4 / 128];
    const kinds = [
      { weight: fp32, gradient: fp32, crossing: 1 },
      { weight: int8, gradient: fp32, crossing: 1 },
      { weight: int8, gradient: int4, crossing: 1 },
      // Backward gathers from the copy that the host has.
      { weight: int8, gradient: int4, crossing: 1 / 2 },
    ];
    for (const [rank, steps] of ranks.entries()) {
      const { gathered = 0, scattered = 0, loss = 0 } = steps[0] ?? {};
      // Half of everything is on the other host, and crosses once.
      const bytes = kinds.map(
        ({ weight, gradient, crossing }) => (gathered * crossing * weight + scattered * gradient) / 2,
      );
      for (const [index, said] of bytes.entries()) {
        const step = steps[index];
        assert(step !== undefined);
        assert.equal(step.sentBytes, step.predictedBytes);
        const what = `${JSON.stringify(settings[index])}, host of rank ${rank}`;
        isNear(step.traffic.sent.uplink, said, said, 1, what);
        assert.ok(Math.abs(step.loss / loss - 1) < 0.01, what);
      }
      const inSixteenBits = gathered + scattered;
      const share = (bytes.at(-1) ?? Number.NaN) / inSixteenBits;
      assert.ok(share < 0.27, `all of ZeRO++ sends ${share} of what 16 bits take`);
    }
  });

  test('a host that is cut off in a step is named by all within the deadline', async () => {
    const seconds = 5;
    const folder = join(import.meta.dirname, '../../test/fixtures/models/llama-gqa-tied');
    const settings = [
      `model=${folder}`,
      `data.path=${join(folder, 'batches.jsonl')}`,
      'steps=1000000',
      'train_batch_size=4',
      `communication.timeout_seconds=${seconds}`,
    ];
    const config = join(import.meta.dirname, '../../test/fixtures/empty-config.json');
    const endings = await runOnHosts({
      network: { hosts: 2, joining: 'switch' },
      ranksPerHost: RANKS_PER_HOST,
      program: join(import.meta.dirname, '../src/cli/main.js'),
      args: ['train', config, ...settings.flatMap((setting) => ['--set', setting]), '--json'],
      cut: { host: 1, when: '"step":5,' },
    });
    for (const [rank, { status, errors, secondsAfterCut = Number.NaN }] of endings.entries()) {
      assert.equal(status, 75, errors);
      assert.match(errors, /error COLLECTIVE_FAILED: .* was not finished within 5 s\./);
      assert.match(errors, /collective \d+: step \d+, reduce bucket\.0 start/);
      const isCutOff = rank >= RANKS_PER_HOST;
      assert.match(
        errors,
        isCutOff ? /Rank 0, which has the store .* left no word/ : /Ranks 2, 3 (left no word|did not come)/,
      );
      assert.match(errors, /cannot be reached over the network/);
      assert.ok(secondsAfterCut < 3 * seconds, `it took ${secondsAfterCut} s`);
    }
  });
});

test('where no hosts can be made it is said why', () => {
  assert.match(namespacesRefusal(['trainyard-no-such-command']) ?? '', /^no network .*: .*ENOENT/);
  assert.match(namespacesRefusal(['sh', '-c', 'echo not allowed >&2; exit 1', '--']) ?? '', /: not allowed$/);
});

/** A model of 1.4 million parameters, all of whose state is divided. */
function stage3(zero: UserConfig['zero_optimization']): UserConfig {
  return {
    model: {
      architecture: 'llama',
      vocab_size: 512,
      hidden_size: 256,
      intermediate_size: 512,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
    },
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { lr: 0.001 } },
    communication: { algorithm: 'hierarchical' },
    zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0, ...zero },
  };
}

type Algorithm = SumTask['algorithm'];
type PinnedAlgorithm = Extract<Algorithm, Choice>;
type LimitedNetwork = Required<NetworkSpec>;

/** Sums on the ranks of a network, and what must hold of them. */
async function sumsOn(
  t: TestContext,
  network: LimitedNetwork,
  tasks: Readonly<Partial<Record<Algorithm, Omit<SumTask, 'algorithm'>>>>,
) {
  const sums = Object.entries(tasks).map(([algorithm, task]) => ({
    ...task,
    algorithm: algorithm as Algorithm,
  }));
  const reports = await resultsOnHosts<Report>({
    network,
    ranksPerHost: RANKS_PER_HOST,
    program: join(import.meta.dirname, 'network-hosts-program.js'),
    args: [JSON.stringify({ sums, links: linkNames(network.joining) } satisfies Task)],
  });
  const [first] = reports;
  assert(first !== undefined);
  const { chosen } = first;

  const by = (algorithm: Algorithm): readonly TimedSums[] =>
    reports.map((report) => {
      const found = report.sums.find((each) => each.algorithm === algorithm);
      assert(found !== undefined, `${algorithm} was not measured`);
      return found;
    });
  const secondsOf = (algorithm: Algorithm): number => {
    const ranks = by(algorithm).map(({ seconds }) => seconds);
    return Math.min(...(ranks[0] ?? []).map((_, turn) => Math.max(...ranks.map((each) => each[turn] ?? 0))));
  };
  const found = sums.map(({ algorithm }) => `${algorithm} ${secondsOf(algorithm).toFixed(2)}`);
  const connectingTo = (algorithm: Algorithm): number =>
    Math.max(...by(algorithm).map(({ connectingSeconds }) => connectingSeconds));
  const connecting = connectingTo('auto');
  const unmeasured = `without measuring in ${connectingTo('ring').toFixed(2)}`;
  t.diagnostic(
    `seconds: ${found.join(', ')} (${chosen}, connected in ${connecting.toFixed(2)}, ${unmeasured})`,
  );
  return {
    /**
     * A rank sends 2(N−1)/N of the tensor to whomever; a host sends others so many times the tensor, and of that such
     * shares by its links.
     */
    sends(algorithm: Algorithm, between: number, shares: Readonly<Record<string, number>> = {}): void {
      for (const [rank, { exchangedBytes, traffic, bytes, repetitions }] of by(algorithm).entries()) {
        const what = `${algorithm}, host of rank ${rank}`;
        assert.equal(exchangedBytes, (repetitions * 2 * (reports.length - 1) * bytes) / reports.length, what);
        for (const [link, opposite] of opposites(network.joining)) {
          const share = (name: string): number => repetitions * between * bytes * (shares[name] ?? 1);
          const [out, back] = [share(link), share(opposite)];
          isNear(traffic.sent[link], out, back, repetitions, `${what}, out by ${link}`);
          isNear(traffic.received[link], back, out, repetitions, `${what}, in by ${link}`);
        }
      }
    },
    /** By as much as is predicted of links of that rate, give or take a part of that. */
    isFaster(algorithm: PinnedAlgorithm, other: PinnedAlgorithm, tolerance: number): void {
      const predicted = linkSeconds(network, other) / linkSeconds(network, algorithm);
      const measured = secondsOf(other) / secondsOf(algorithm);
      const said = `${measured.toFixed(2)} times as fast as ${other}, predicted ${predicted.toFixed(2)}`;
      assert.ok(Math.abs(measured / predicted - 1) <= tolerance, `${algorithm} is ${said}`);
    },
    /** What "auto" has chosen by the costs that it measured takes about as long as what is best; measuring, not long. */
    choosesWell(best: PinnedAlgorithm): void {
      const said = `${chosen} took ${secondsOf('auto')} s, ${best} ${secondsOf(best)} s`;
      assert.ok(secondsOf('auto') <= 1.5 * secondsOf(best), said);
      assert.ok(connecting < MOST_CONNECTING, `it took ${connecting} s to connect and measure`);
    },
  };
}

/** Of an all-reduce, where nothing takes time but the links between hosts. */
function linkSeconds(
  { hosts, joining, megabitsPerSecond }: LimitedNetwork,
  algorithm: PinnedAlgorithm,
): number {
  const perByte = 8e-6 / megabitsPerSecond;
  const link = { start: 0, perByte };
  const costs: CommunicationCosts = {
    insideHost: NOTHING,
    betweenHosts: link,
    // Half of what a host sends goes by each of its links.
    betweenManyHosts: joining === 'ring' ? { start: 0, perByte: perByte / 2 } : link,
    perMessage: 0,
    combinePerByte: 0,
    backend: NOTHING,
    sharedMemory: NOTHING,
  };
  const call = { collective: 'all-reduce', elements: MIB, dtype: 'float32' } as const;
  return predictSeconds(algorithm, hostsOfSize(hosts * RANKS_PER_HOST, RANKS_PER_HOST), call, costs);
}

/** What comes by a link has left the next host by the link that it has to the other side. */
function opposites(joining: NetworkSpec['joining']): readonly (readonly [string, string])[] {
  const names = linkNames(joining);
  return names.map((name, index) => [name, names[names.length - 1 - index] ?? name]);
}

/** Whether the kernel has counted what was said, and little beside. */
function isNear(counted = 0, said: number, otherWay: number, sums: number, what: string): void {
  const most = (1 + HEADERS) * said + ANSWERS * otherWay + LITTLE * sums;
  assert.ok(counted >= said && counted <= most, `${what}: ${counted} bytes for ${said}, at most ${most}`);
}
