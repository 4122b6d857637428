import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { withoutControls } from '../../launch/output-lines.js';

/** Texts as the lines that a reader may see. */
export function shownLines(texts: readonly string[]): readonly string[] {
  return texts.flatMap((text) => text.split('\n')).map(withoutControls);
}

/** Writes texts as lines; resolves when there is room for more. */
export async function writeLines(stream: Writable, texts: readonly string[]): Promise<void> {
  if (texts.length === 0) return;
  const hasRoom = stream.write(`${shownLines(texts).join('\n')}\n`);
  if (!hasRoom && !stream.destroyed) await once(stream, 'drain');
}
