import { type BenchComparison, median, type PeerResult, runPeer } from '../bench/peer.js';

/** Median nanoseconds by case. */
type Costs = Readonly<Record<string, number>>;

/**
 * Prints what a call of each operator costs, in nanoseconds; beside a peer, in turns with it, and with the
 * median ratio: below 1 we are faster.
 */
export async function benchDispatchCommand(peer: readonly string[], options: BenchComparison): Promise<void> {
  const { benchDispatch } = await import('../../engine/bench/dispatch.js');
  const rounds: { readonly own: Costs; readonly other: Costs }[] = [];
  for (let round = 0; round < (peer.length === 0 ? 1 : options.rounds); round += 1) {
    const own = mapCosts(benchDispatch());
    rounds.push({ own, other: peer.length === 0 ? {} : mapCosts(await runPeer(peer)) });
  }
  const cases = Object.keys(rounds[0]?.own ?? {}).map((name) => ({
    name,
    ns: Math.round(median(rounds.map(({ own }) => own[name] ?? Number.NaN))),
    ...(rounds.every(({ other }) => other[name] !== undefined) && {
      peer_ns: Math.round(median(rounds.map(({ other }) => other[name] ?? Number.NaN))),
      ratio: median(rounds.map(({ own, other }) => (own[name] ?? Number.NaN) / (other[name] ?? Number.NaN))),
    }),
  }));
  const width = Math.max(...cases.map(({ name }) => name.length));
  const lines = cases.map(({ name, ns, peer_ns, ratio }) =>
    [
      name.padEnd(width),
      `${String(ns).padStart(7)} ns`,
      ...(ratio === undefined ? [] : [`peer ${String(peer_ns).padStart(7)} ns`, `ratio ${ratio.toFixed(2)}`]),
    ].join('   '),
  );
  const text = options.json === true ? JSON.stringify({ peer: 'trainyard', cases }) : lines.join('\n');
  process.stdout.write(`${text}\n`);
}

function mapCosts(result: PeerResult | Readonly<Record<string, { readonly ns: number }>>): Costs {
  return Object.fromEntries(
    Object.entries(result).flatMap(([name, value]) => {
      const ns = typeof value === 'object' && value !== null && 'ns' in value ? Number(value.ns) : Number.NaN;
      return Number.isNaN(ns) ? [] : [[name, ns] as const];
    }),
  );
}
