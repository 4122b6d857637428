import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from '../../base/env.js';
import { printable } from '../../base/printable.js';
import { listDemoCorpus } from '../../data/demo-corpus.js';
import { openDataset } from '../../data/open-dataset.js';
import { tokenizerFiles } from '../../data/tokenizer/tokenizer-files.js';
import { DEFAULT_SPECIAL_TOKENS, trainTokenizer, writeTokenizerFiles } from '../../data/train-tokenizer.js';
import { unigramEntropy } from '../../data/unigram-entropy.js';
import { demandWritableFolder } from '../../store/demand-writable-folder.js';
import {
  DEMO_RANKS,
  DEMO_SEQUENCE_LENGTH,
  DEMO_VOCABULARY_SIZE,
  type DemoPaths,
  demoConfig,
} from '../demo/demo-config.js';
import { formatCount, formatDuration, formatValue } from '../format.js';
import { generate } from './generate.js';
import { displayForCommand, superviseTraining } from './supervise-training.js';

export interface DemoOptions {
  readonly steps: number;
  readonly output: string;
}

const PROMPT = 'interface ';

/**
 * From text to a model that writes: a tokenizer, a configuration, a training run on two ranks, a sample.
 *
 * @param texts text to learn from; none: the declaration files of TypeScript
 */
export async function demo(texts: readonly string[], { steps, output }: DemoOptions): Promise<void> {
  const data = texts.length === 0 ? listDemoCorpus() : texts;
  const paths: DemoPaths = {
    config: join(output, 'config.json'),
    tokenizer: join(output, 'tokenizer'),
    model: join(output, 'model'),
  };
  demandWritableFolder(output, '--output');
  await makeTokenizer(data, paths.tokenizer);
  const config = demoConfig(data, paths, steps);
  writeFileSync(paths.config, `${JSON.stringify(config, null, 2)}\n`);
  const entropy = await entropyOfTokens(config.data);

  const { exitCode, end } = await superviseTraining({
    config: paths.config,
    ranks: DEMO_RANKS,
    overrides: [],
    display: displayForCommand(false),
  });
  process.exitCode = exitCode;
  if (exitCode !== 0 || end === undefined) return;

  say(
    'loss',
    `${formatValue(end.loss)}; knowing only how often each token occurs would give ${formatValue(entropy)}`,
  );
  say('sample', `what the model makes of "${PROMPT}":`);
  await generate(paths.model, { prompt: PROMPT, maxTokens: 120, temperature: 0.7, seed: 0 });
  say('next', `npx trainyard generate ${paths.model} --prompt 'type '`);
  say('', `npx trainyard train ${paths.config} --ranks ${DEMO_RANKS} --resume --set steps=${3 * steps}`);
}

async function makeTokenizer(data: readonly string[], folder: string): Promise<void> {
  const start = performance.now();
  const vocabulary = await trainTokenizer({
    paths: data,
    baseDirectory: process.cwd(),
    textField: 'text',
    vocabularySize: DEMO_VOCABULARY_SIZE,
    specialTokens: DEFAULT_SPECIAL_TOKENS,
  });
  writeTokenizerFiles(tokenizerFiles(vocabulary), folder);
  const seconds = formatDuration((performance.now() - start) / 1000);
  say('tokenizer', `${vocabulary.vocabulary.length} entries, byte-level BPE, learnt in ${seconds}`);
}

/** Tokenizes the text, which the ranks then find in the cache. */
async function entropyOfTokens(data: ReturnType<typeof demoConfig>['data']): Promise<number> {
  const { store } = await openDataset(
    { ...data, text_field: 'text' },
    {
      baseDirectory: process.cwd(),
      cacheDirectory: env.cacheDirectory,
      modelDirectory: undefined,
      vocabularySize: DEMO_VOCABULARY_SIZE,
      defaultSequenceLength: DEMO_SEQUENCE_LENGTH,
      seed: 0,
    },
  );
  const entropy = unigramEntropy(store.ids);
  say(
    'data',
    `${formatCount(store.ids.length)} tokens, ${formatValue(entropy)} nats each by frequency alone`,
  );
  return entropy;
}

function say(subject: string, text: string): void {
  process.stderr.write(`${subject.padEnd(12)}${printable(text)}\n`);
}
