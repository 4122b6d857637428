import { initialize, type UserConfig } from '../src/index.js';
import { runRanks } from './run-ranks.js';

/** What a save comes to in a place, and how much of it is there when it returns. */
export function savingIn(place: string, config: UserConfig): string {
  const engine = initialize({ config });
  try {
    engine.save(place);
    return `${engine.takeSaved().length} there`;
  } finally {
    engine.close();
  }
}

/** What two ranks say that save under different names. */
export async function savingTwoNames(config: UserConfig): Promise<string> {
  const [said] = await runRanks<readonly string[]>('checkpoint-tags-program.js', 2, [JSON.stringify(config)]);
  return JSON.stringify(said);
}
