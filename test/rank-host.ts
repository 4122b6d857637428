import type { RankPlace } from './rank-world.js';

/** What a test program for ranks exports: does one rank's part and returns what there is to tell, as JSON can, or a promise of it. */
export type RankProgram = (place: RankPlace, args: readonly string[]) => unknown;

/** What `run-ranks.ts` asks of a process. */
export interface RankTask {
  /** A file beside this one. */
  readonly program: string;
  readonly place: RankPlace;
  readonly args: readonly string[];
}

/** What it answers: the result, or an error as text. */
export type RankAnswer = { readonly result: string } | { readonly error: string };

// A process that is one rank of one world after the other: to load libtorch takes longer than most of them.
process.on('message', (task: RankTask) => {
  void answer(task).then((answered) => process.send?.(answered));
});
process.on('disconnect', () => process.exit(0));

async function answer({ program, place, args }: RankTask): Promise<RankAnswer> {
  try {
    const { run } = (await import(`./${program}`)) as { readonly run: RankProgram };
    return { result: JSON.stringify((await run(place, args)) ?? null) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
