export interface MergeOptions {
  readonly output: string;
  readonly model?: string;
}

/** Adds an adapter to its model's weights and writes a plain model. */
export async function merge(adapter: string, { model, output }: MergeOptions): Promise<void> {
  const { mergeAdapter } = await import('../../engine/merge-adapter.js');
  const changed = mergeAdapter({ adapterPath: adapter, modelPath: model, output });
  process.stderr.write(`${changed} weights changed, the model written to ${output}\n`);
}
