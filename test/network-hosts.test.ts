import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Choice, choicesFor } from '../src/comm/choose-algorithm.js';
import { hostsOfSize } from '../src/comm/topology.js';
import type { UserConfig } from '../src/engine/config.js';
import { namespacesRefusal, resultsOnHosts, runOnHosts } from './network-hosts.js';
import { type HostSums, linkCosts, linkSeconds, RANKS_PER_HOST, sumsOnHosts } from './network-hosts-sums.js';
import type { CountedStep, TrainingTask } from './network-hosts-training.js';
import { linkNames, type NetworkSpec } from './network-layout.js';

// Hosts that are network namespaces of this machine, joined by links of which the kernel limits the rate and counts the bytes.

const MIB = 2 ** 20;

/**
 * Of a packet of 1,514 bytes 66 are headers; every other one, or each that finds nothing to go with, is answered by 66 the
 * other way. Together that is within 8 %.
 */
const HEADERS = 66 / 1448 + 0.005;
const ANSWERS = 66 / (2 * 1448) + 0.005;
/** In bytes for each sum: barriers, and the beginnings of messages. */
const LITTLE = 40_000;

/** Of each algorithm. */
const COUNTED = { bytes: MIB, repetitions: 1 };

const refusal = namespacesRefusal();

describe('several hosts', { concurrency: 1, skip: refusal ?? false }, () => {
  test('2 hosts by a switch: each algorithm sends what it should, "auto" what the one that it chooses does', async () => {
    const network = { hosts: 2, joining: 'switch', megabitsPerSecond: 50 } as const;
    const sums = await sumsOnHosts(network, {
      'bidirectional-ring': COUNTED,
      'halving-doubling': COUNTED,
      ring: COUNTED,
      hierarchical: COUNTED,
      auto: COUNTED,
    });
    // A flat ring leaves a host by one of its ranks; lanes share that out: 2(H−1)/H of an L-th from each of L.
    const ring = { between: 2 * (3 / 4) };
    const lanes = { between: 2 * (1 / 2) };
    sendsAsItShould(sums, {
      backend: ring,
      ring,
      'bidirectional-ring': ring,
      hierarchical: lanes,
      'halving-doubling': lanes,
    });
    isBestByLinksAlone(sums, 'hierarchical');
    measuredTheLinks(sums);
  });

  test('4 hosts by a switch: the same', async () => {
    const network = { hosts: 4, joining: 'switch', megabitsPerSecond: 25 } as const;
    const sums = await sumsOnHosts(network, { ring: COUNTED, hierarchical: COUNTED });
    sendsAsItShould(sums, { ring: { between: 2 * (7 / 8) }, hierarchical: { between: 2 * (3 / 4) } });
    isBestByLinksAlone(sums, 'hierarchical');
  });

  test('4 hosts with a link to each neighbour: half goes each way round', async () => {
    const network = { hosts: 4, joining: 'ring', megabitsPerSecond: 25 } as const;
    const sums = await sumsOnHosts(network, { ring: COUNTED, 'bidirectional-ring': COUNTED });
    sendsAsItShould(sums, {
      ring: { between: 2 * (7 / 8), shares: { next: 1, previous: 0 } },
      'bidirectional-ring': { between: 2 * (7 / 8), shares: { next: 1 / 2, previous: 1 / 2 } },
    });
    isBestByLinksAlone(sums, 'bidirectional-ring');
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

/** What leaves a host in a sum, as a multiple of the tensor, and such shares of that by its links. */
interface Sending {
  readonly between: number;
  readonly shares?: Readonly<Record<string, number>>;
}

/** By what the group counts a rank sends 2(N−1)/N of the tensor to whomever; the kernel counts what a host sends others. */
function sendsAsItShould(sums: HostSums, sendings: Readonly<Partial<Record<Choice, Sending>>>): void {
  for (const [rank, report] of sums.reports.entries()) {
    for (const { algorithm, exchangedBytes, traffic, bytes, repetitions } of report.sums) {
      const what = `${algorithm}, host of rank ${rank}`;
      const ranks = sums.reports.length;
      assert.equal(exchangedBytes, (repetitions * 2 * (ranks - 1) * bytes) / ranks, what);
      const choice = algorithm === 'auto' ? report.chosen : (algorithm as Choice);
      const { between, shares = {} } = sendings[choice ?? 'backend'] ?? {};
      assert(between !== undefined, `nothing is known of ${choice}`);
      for (const [link, opposite] of opposites(sums.network.joining)) {
        const share = (name: string): number => repetitions * between * bytes * (shares[name] ?? 1);
        const [out, back] = [share(link), share(opposite)];
        isNear(traffic.sent[link], out, back, repetitions, `${what}, out by ${link}`);
        isNear(traffic.received[link], back, out, repetitions, `${what}, in by ${link}`);
      }
    }
  }
}

/** Where nothing takes time but the links. */
function isBestByLinksAlone({ network, reports }: HostSums, best: Choice): void {
  const seconds = (choice: Choice): number => linkSeconds(network, choice, 4 * MIB);
  const others = choicesFor(hostsOfSize(reports.length, RANKS_PER_HOST)).filter(
    (other) => seconds(other) < seconds(best),
  );
  assert.deepEqual(others, []);
  assert.ok(seconds(best) < seconds('ring'));
}

/**
 * No load makes a link faster than it is, and of its time at least an eighth is taken to be that of bytes, however long few of
 * them took (`lineThrough`): that is still many times what they take where nothing limits it.
 */
function measuredTheLinks({ network, reports }: HostSums): void {
  const isReally = linkCosts(network).betweenHosts.perByte;
  for (const { costs } of reports) {
    const measured = costs?.betweenHosts.perByte ?? Number.NaN;
    assert.ok(measured > isReally / 10, `${measured} s a byte were measured, a link takes ${isReally}`);
    assert.deepEqual(costs?.betweenHosts, reports[0]?.costs?.betweenHosts, 'the ranks agree');
  }
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
