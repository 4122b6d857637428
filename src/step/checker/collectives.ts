import { groupBy } from '../../base/group-by.js';
import type { Collective } from '../effects/effect-table.js';
import { effectsOf } from '../effects.js';
import { instructionText } from '../instruction-text.js';
import { type GroupName, membersOf, type Program } from '../program.js';
import { refusal } from './refusal.js';

/** The collectives of one kind that a rank takes part in during one step. */
export interface CollectiveSummary {
  readonly kind: Collective['kind'];
  readonly group: GroupName;
  readonly count: number;
  readonly elements: number;
  /** What this rank sends; where it is not said, by the bandwidth-optimal algorithm: 2(N−1)/N of an all-reduce. */
  readonly sentBytes: number;
}

/** A collective with the place that asks for it. */
interface Occurrence extends Collective {
  readonly position: number;
}

/** The share of its own message that a rank sends, by kind, for N ranks (Thakur et al., 2005). */
const SENT_SHARE: { readonly [Kind in Collective['kind']]: (ranks: number) => number } = {
  'all-reduce': (ranks) => (2 * (ranks - 1)) / ranks,
  'reduce-scatter': (ranks) => (ranks - 1) / ranks,
  'all-gather': (ranks) => (ranks - 1) / ranks,
  'all-to-all': (ranks) => (ranks - 1) / ranks,
};

export function summarizeCollectives(program: Program): readonly CollectiveSummary[] {
  const summaries = new Map<string, CollectiveSummary>();
  for (const { kind, group, elements, bytes, sentBytes } of occurrences(program)) {
    const before = summaries.get(`${kind} ${group}`);
    summaries.set(`${kind} ${group}`, {
      kind,
      group,
      count: (before?.count ?? 0) + 1,
      elements: (before?.elements ?? 0) + elements,
      sentBytes:
        (before?.sentBytes ?? 0) + (sentBytes ?? SENT_SHARE[kind](membersOf(program, group).length) * bytes),
    });
  }
  return [...summaries.values()];
}

/** Refuses programs whose ranks would not meet: in every group all members do the same, in the same order. */
export function checkMeetings(programs: readonly Program[]): void {
  const byRank = new Map(programs.map((program) => [program.rank, meetingsOf(program)]));
  for (const second of byRank.values()) {
    const { program } = second;
    for (const group of Object.keys(program.groups) as GroupName[]) {
      const ranks = membersOf(program, group);
      const first = byRank.get(ranks[0] ?? program.rank);
      if (first !== undefined && first !== second) checkPair(first, second, group);
    }
  }
}

/** A rank's collectives by their groups. */
interface Meetings {
  readonly program: Program;
  readonly byGroup: ReadonlyMap<GroupName, readonly Occurrence[]>;
}

function meetingsOf(program: Program): Meetings {
  return { program, byGroup: groupBy(occurrences(program), ({ group }) => group) };
}

function checkPair({ program: first, byGroup }: Meetings, second: Meetings, group: GroupName): void {
  const ours = second.byGroup.get(group) ?? [];
  const theirs = byGroup.get(group) ?? [];
  for (let index = 0; index < Math.max(ours.length, theirs.length); index += 1) {
    const [mine, other] = [ours[index], theirs[index]];
    if (fingerprint(mine) === fingerprint(other)) continue;
    const expected = other === undefined ? 'nothing more' : describe(first, other);
    throw mine === undefined
      ? refusal(
          second.program,
          undefined,
          `rank ${first.rank} waits in ${expected} and this rank never comes`,
        )
      : refusal(
          second.program,
          mine.position,
          `${describe(second.program, mine)} meets ${expected} on rank ${first.rank}`,
        );
  }
}

function fingerprint(occurrence: Occurrence | undefined): string {
  return occurrence === undefined
    ? 'none'
    : [occurrence.kind, occurrence.subject, occurrence.elements, occurrence.bytes, occurrence.codec].join(
        ' ',
      );
}

function occurrences(program: Program): readonly Occurrence[] {
  return program.instructions.flatMap((instruction, position) => {
    const { collective, inside = [] } = effectsOf(instruction, program);
    return [...inside, ...(collective ? [collective] : [])].map((each) => ({ ...each, position }));
  });
}

function describe(program: Program, { kind, elements, position }: Occurrence): string {
  const instruction = program.instructions[position];
  const text = instruction === undefined ? '' : `, instruction ${position}: ${instructionText(instruction)}`;
  return `${kind} of ${elements} elements (rank ${program.rank}${text})`;
}
