import { membersOf, type Program } from './program.js';
import { RankClock } from './simulator/rank-clock.js';
import type { CostModel, Simulation } from './simulator/simulation.js';

/**
 * Runs the programs of all ranks over a cost model. A rank has three streams, one that computes, one that
 * communicates and one that copies between device and host; each does one thing at a time, in program order. A
 * collective begins when every member has started it and has its communication stream free. What one rank sends to
 * another begins when both have started it and the link is free that way; links and communication streams do not
 * hold each other up.
 *
 * The programs must have passed `checkPrograms`, which rules out that ranks wait for each other for ever.
 */
export function simulate(programs: readonly Program[], costs: CostModel): Simulation {
  const ranks = new Map(programs.map((program) => [program.rank, new RankClock(program, costs)]));
  const all = [...ranks.values()];
  while (all.some((rank) => !rank.isDone)) {
    const advanced = all.map((rank) => rank.advance());
    const met = all.map((rank) => meet(rank, ranks, costs));
    const sent = all.map((rank) => deliver(rank, ranks, costs));
    if (![...advanced, ...met, ...sent].includes(true))
      throw new Error('The simulated ranks wait for each other.');
  }
  const results = all.map((rank) => rank.result());
  return {
    stepMs: Math.max(0, ...results.map((result) => result.endMs)),
    ranks: results,
    slices: all.flatMap((rank) => rank.slices),
  };
}

/** Runs the collective at the head of a rank's queue if it is at the head for all members. */
function meet(rank: RankClock, ranks: ReadonlyMap<number, RankClock>, costs: CostModel): boolean {
  const head = rank.collectives[0];
  if (head === undefined) return false;
  const { group } = head.what;
  const members = membersOf(rank.program, group).map((member) => clockOf(member, ranks));
  const heads = members.map((member) => member.collectives[0]);
  if (!heads.every((other) => other !== undefined && other.what.group === group)) return false;
  const startMs = Math.max(
    ...members.map((member, index) => Math.max(member.communicationFreeMs, heads[index]?.issuedMs ?? 0)),
  );
  const endMs = startMs + costs.communicate(head.what, members.length);
  for (const member of members) member.finishCollective(startMs, endMs);
  return true;
}

/** Runs what a rank has started to send and the other side to receive. */
function deliver(sender: RankClock, ranks: ReadonlyMap<number, RankClock>, costs: CostModel): boolean {
  let isAny = false;
  for (const [peer, sent] of sender.sent) {
    const receiver = clockOf(peer, ranks);
    const received = receiver.received.get(sender.program.rank) ?? [];
    while (sent.length > 0 && received.length > 0) {
      const [out, into] = [sent.shift(), received.shift()];
      if (out === undefined || into === undefined) break;
      const startMs = Math.max(out.issuedMs, into.issuedMs, sender.linkFreeMs.get(peer) ?? 0);
      const endMs = startMs + costs.send(out.what, sender.program.rank, peer);
      sender.linkFreeMs.set(peer, endMs);
      sender.finish(out.name, startMs, endMs);
      receiver.finish(into.name, startMs, endMs);
      isAny = true;
    }
  }
  return isAny;
}

function clockOf(rank: number, ranks: ReadonlyMap<number, RankClock>): RankClock {
  const clock = ranks.get(rank);
  if (clock === undefined) throw new Error('A rank of the group has no program.');
  return clock;
}
