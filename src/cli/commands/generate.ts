import { withoutControls } from '../../launch/output-lines.js';

export interface GenerateOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed: number;
}

/** Prints the prompt and what a trained model makes of it, as it is written. */
export async function generate(model: string, options: GenerateOptions): Promise<void> {
  const { generateText } = await import('../../engine/generate.js');
  const pieces = generateText({
    modelPath: model,
    prompt: options.prompt,
    maximumTokens: options.maxTokens,
    temperature: options.temperature,
    seed: options.seed,
  });
  let isFirst = true;
  for (const piece of pieces) {
    if (isFirst) process.stdout.write(shown(options.prompt));
    isFirst = false;
    process.stdout.write(shown(piece));
  }
  process.stdout.write('\n');
}

/** A model may write anything; a terminal shall not obey it. A file gets the text as it is. */
function shown(text: string): string {
  return process.stdout.isTTY ? text.split('\n').map(withoutControls).join('\n') : text;
}
