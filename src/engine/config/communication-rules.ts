import { show } from '../../base/explain-issues.js';
import { ALGORITHM_NAMES, ALGORITHMS } from '../../comm/algorithm.js';
import { hostsOf, topologyFault } from '../../comm/topology.js';
import type { ConfigIssue } from './issue.js';
import type { ConfigRule, GivenValue, Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';

const ALGORITHM = ['communication', 'algorithm'];
const TOPOLOGY = ['communication', 'topology'];

/** What must hold between the ways in which ranks exchange and all else. */
export const communicationRules: readonly ConfigRule[] = [
  { keys: ['communication'], check: checkTopology },
  { keys: ['communication'], check: checkIdleTopology },
  { keys: ['communication'], check: checkLayout },
  { keys: ['communication'], check: checkOrder },
  { keys: ['communication', 'device'], check: checkDevice },
];

function checkTopology(
  { communication }: CheckedConfig,
  { worldSize }: Surroundings,
): ConfigIssue | undefined {
  const { topology } = communication;
  // One process exchanges nothing, and may read what others are started with.
  const fault = topology && worldSize > 1 ? topologyFault(topology, worldSize) : undefined;
  if (fault === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: TOPOLOGY,
    part: 'value',
    what: `communication.topology does not fit ${worldSize} ranks: ${fault}.`,
    expected: `every rank from 0 to ${worldSize - 1} once`,
    got: show(topology),
  };
}

function checkIdleTopology(
  { communication, zero_optimization: zero }: CheckedConfig,
  _surroundings: Surroundings,
  given: GivenValue,
): ConfigIssue | undefined {
  if (given(TOPOLOGY) === undefined || communication.algorithm !== 'backend') return undefined;
  // What is quantized between hosts depends on which they are, whatever carries it.
  if (zero.zero_quantized_gradients) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: TOPOLOGY,
    part: 'key',
    what: 'communication.topology has no effect while communication.algorithm is "backend".',
    cure: 'Remove one of them.',
  };
}

/** What the ranks' launchers say of hosts is not known yet: `comm/connect-exchange.ts` asks again. */
function checkLayout({ communication }: CheckedConfig, { worldSize }: Surroundings): ConfigIssue | undefined {
  const { algorithm, topology } = communication;
  if (topology === undefined || worldSize === 1 || topologyFault(topology, worldSize) !== undefined)
    return undefined;
  const hosts = hostsOf(topology, worldSize);
  const pinned = ALGORITHM_NAMES.find((name) => name === algorithm);
  const reason =
    algorithm === 'shared-memory' && hosts.length > 1
      ? 'ranks of several hosts share no memory'
      : pinned && ALGORITHMS[pinned].refuses(hosts);
  if (reason === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ALGORITHM,
    part: 'value',
    what: `The algorithm "${algorithm}" cannot work with communication.topology: ${reason}.`,
    got: `${hosts.length} ${hosts.length === 1 ? 'host' : 'hosts'} for ${worldSize} ranks`,
    cure: 'Choose another algorithm, or "auto".',
  };
}

function checkOrder({ communication }: CheckedConfig): ConfigIssue | undefined {
  const { algorithm, deterministic } = communication;
  if (!deterministic || !ALGORITHM_NAMES.some((name) => name === algorithm)) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ALGORITHM,
    part: 'value',
    what: `The algorithm "${algorithm}" does not sum in the order of ranks, as communication.deterministic asks.`,
    expected: '"auto", "backend" or "shared-memory" beside "deterministic": true',
    got: algorithm,
  };
}

function checkDevice({ communication, device }: CheckedConfig): ConfigIssue | undefined {
  const { algorithm } = communication;
  if (device === 'cpu' || algorithm === 'auto' || algorithm === 'backend') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ALGORITHM,
    part: 'value',
    what: `The algorithm "${algorithm}" exchanges what is in host memory, and tensors are on a GPU.`,
    expected: '"auto" or "backend" beside "device": "cuda"',
    got: algorithm,
  };
}
