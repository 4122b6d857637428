import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tokenizerFiles } from '../src/data/tokenizer/tokenizer-files.js';
import { trainTokenizer, writeTokenizerFiles } from '../src/data/train-tokenizer.js';
import { runTraining } from '../src/engine/train.js';
import {
  type Engine,
  generateText,
  initialize,
  loadTokenizer,
  models,
  store,
  type Tokenizer,
  TrainyardError,
  type UserConfig,
} from '../src/index.js';
import { singleRank } from '../src/launch/environment.js';
import { PLAIN_MODEL } from './plain-model.js';

// The library as a program of one's own uses it: through the public door, one rank in this process.

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-library-'));
});
after(() => rmSync(root, { recursive: true }));

const ROWS = 4;
const VOCABULARY = 37;
const config: UserConfig = { train_batch_size: ROWS, optimizer: { type: 'AdamW', params: { lr: 0.01 } } };

/** Dropout makes the state of the random generator matter, warm-up the number of steps. */
const GPT2 = {
  architecture: 'gpt2',
  vocab_size: VOCABULARY,
  n_embd: 8,
  n_layer: 1,
  n_head: 2,
  n_positions: 16,
  resid_pdrop: 0.2,
};

function batch(step: number): { readonly inputIds: readonly (readonly number[])[] } {
  const row = (index: number) =>
    Array.from({ length: 12 }, (_, i) => (index * 11 + i * 5 + step) % VOCABULARY);
  return { inputIds: Array.from({ length: ROWS }, (_, index) => row(index)) };
}

function train(engine: Engine, steps: number): readonly string[] {
  const results: string[] = [];
  for (let last = engine.steps + steps; engine.steps < last; ) {
    const { step, loss, gradientNorm, learningRate } = engine.trainBatch(batch(engine.steps));
    results.push(JSON.stringify({ step, loss, gradientNorm, learningRate }));
  }
  return results;
}

function readJson(...path: readonly string[]): Readonly<Record<string, unknown>> {
  return JSON.parse(readFileSync(join(...path), 'utf8')) as Readonly<Record<string, unknown>>;
}

test('training goes on from engine.load as if it had never stopped', () => {
  const settings: UserConfig = {
    ...config,
    model: GPT2,
    scheduler: { type: 'WarmupLR', params: { warmup_num_steps: 6 } },
  };
  const folder = join(root, 'checkpoints');
  const whole = initialize({ config: settings });
  train(whole, 2);
  assert.equal(whole.save(folder), join(folder, 'step-2'));
  const expected = train(whole, 3);
  whole.close();

  const resumed = initialize({ config: settings });
  assert.equal(resumed.load(join(root, 'nothing-here')), undefined);
  assert.equal(resumed.load(folder)?.tag, 'step-2');
  assert.equal(resumed.steps, 2);
  assert.deepEqual(train(resumed, 3), expected);
  resumed.close();
});

test("a model of one's own blocks is saved as a folder and loaded from it", () => {
  const trained = initialize({ model: PLAIN_MODEL, config });
  train(trained, 2);
  const folder = join(root, 'plain');
  trained.saveModel(folder);
  const expected = trained.gathered(['first.weight'], (tensors) => tensors.get('first.weight')?.toArray());
  trained.close();

  assert.deepEqual(readJson(folder, 'config.json'), {
    dtype: 'float32',
    model_type: 'plain',
    torch_dtype: 'float32',
    vocab_size: VOCABULARY,
  });
  const names = ['embedding.weight', 'first.weight', 'head.bias', 'second.weight'];
  assert.deepEqual([...store.openModelFolder(folder).names].sort(), names, 'tied weights once');

  const loaded = initialize({ model: PLAIN_MODEL, config: { ...config, seed: 5 } });
  loaded.loadModel(folder);
  assert.deepEqual(
    loaded.gathered(['first.weight'], (tensors) => tensors.get('first.weight')?.toArray()),
    expected,
  );
  loaded.close();
});

test("the configuration of a model of one's own blocks is written as it was given", () => {
  const features = { layers: 2, width: 9, torch_dtype: 'bfloat16' };
  const engine = initialize({ model: { ...PLAIN_MODEL, config: features }, config });
  engine.saveModel(join(root, 'described'));
  engine.close();
  assert.deepEqual(readJson(root, 'described', 'config.json'), {
    ...features,
    model_type: 'plain',
    dtype: 'float32',
    torch_dtype: 'float32',
  });
});

test('a model made from a Hugging Face configuration keeps its class, whichever way it came', () => {
  const engine = initialize({ model: models.modelFromConfig(GPT2), config });
  engine.saveModel(join(root, 'gpt2'));
  engine.close();
  const saved = readJson(root, 'gpt2', 'config.json');
  assert.deepEqual([saved.architectures, saved.n_embd], [['GPT2LMHeadModel'], 8]);
});

test('blocks under the name of a known architecture are not passed off as its class', () => {
  const engine = initialize({ model: { ...PLAIN_MODEL, architecture: 'llama' }, config });
  engine.saveModel(join(root, 'not-llama'));
  engine.close();
  assert.equal(readJson(root, 'not-llama', 'config.json').architectures, undefined);
});

describe('special tokens of the tokenizer that a model was trained with', () => {
  const text = 'two trains leave the yard, and one of them comes back. ';
  const tokens = (folder: string, file: string) => {
    const { bos_token_id, eos_token_id, pad_token_id } = readJson(folder, file);
    return [bos_token_id, eos_token_id, pad_token_id];
  };

  async function trainedTokenizer(name: string): Promise<Tokenizer> {
    const folder = join(root, name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'text.txt'), text.repeat(20));
    const vocabulary = await trainTokenizer({
      paths: ['text.txt'],
      baseDirectory: folder,
      textField: 'text',
      vocabularySize: 270,
      specialTokens: ['<|endoftext|>'],
    });
    writeTokenizerFiles(tokenizerFiles(vocabulary), folder);
    return loadTokenizer(folder);
  }

  /** Saves a Llama of 300 tokens, or that of a folder. */
  function save(
    model: NonNullable<UserConfig['model']>,
    tokenizer: Tokenizer | undefined,
    name: string,
  ): string {
    const engine = initialize({ config: { ...config, model } });
    engine.saveModel(join(root, name), tokenizer);
    engine.close();
    return join(root, name);
  }

  const llama = {
    architecture: 'llama',
    vocab_size: 300,
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
  };

  test('are in both configurations, and null where there is none', async () => {
    const tokenizer = await trainedTokenizer('own');
    const { end } = tokenizer.special;
    assert.ok(end !== undefined);
    const folder = save(llama, tokenizer, 'with-tokens');
    assert.deepEqual(tokens(folder, 'config.json'), [null, end, end]);
    assert.deepEqual(tokens(folder, 'generation_config.json'), [undefined, end, end]);

    const again = save(folder, loadTokenizer(folder), 'kept');
    assert.deepEqual(tokens(again, 'config.json'), [null, end, end]);
    assert.deepEqual(tokens(save(folder, undefined, 'kept-too'), 'config.json'), [null, end, end]);
  });

  test('agree with what the model was described with', async () => {
    const tokenizer = await trainedTokenizer('stated');
    const { end } = tokenizer.special;
    const folder = save({ ...llama, bos_token_id: 7, eos_token_id: [3, end] }, tokenizer, 'with-stated');
    assert.deepEqual(tokens(folder, 'config.json'), [7, [3, end], end]);
    const bytes = save({ ...llama, bos_token_id: 7, eos_token_id: 9 }, loadTokenizer('bytes'), 'bytes');
    assert.deepEqual(tokens(bytes, 'config.json'), [7, 0, 0]);
  });

  test('of another vocabulary are forgotten, with its files', async () => {
    const old = save(llama, await trainedTokenizer('old'), 'old-model');
    writeFileSync(join(old, 'vocab.json'), '{}');
    writeFileSync(
      join(old, 'generation_config.json'),
      JSON.stringify({ bos_token_id: 5, eos_token_id: 6, temperature: 0.5 }),
    );
    const folder = save(old, loadTokenizer('bytes'), 'new-model');
    assert.deepEqual(tokens(folder, 'config.json'), [null, 0, 0]);
    const { _from_model_config, ...generation } = readJson(folder, 'generation_config.json');
    assert.deepEqual(generation, { eos_token_id: 0, pad_token_id: 0, temperature: 0.5 });
    assert.ok(!existsSync(join(folder, 'vocab.json')));
  });
});

test('a folder is trained on the data of its configuration, with its own tokenizer', async () => {
  writeFileSync(
    join(root, 'corpus.txt'),
    'two trains leave the yard, and one of them comes back. '.repeat(40),
  );
  const data = { path: join(root, 'corpus.txt'), sequence_length: 16 };
  const base = initialize({ config: { ...config, model: { ...GPT2, vocab_size: 256 } } });
  base.saveModel(join(root, 'base'), loadTokenizer('bytes'));
  base.close();

  using engine = initialize({ config: { ...config, model: join(root, 'base'), data } });
  const opened = await engine.openData();
  assert.equal(opened.sequenceLength, 16);
  assert.equal(opened.tokenizer?.vocabularySize, 256);
  const losses = Array.from({ length: 8 }, () => engine.trainStep(opened.batch(engine.steps)).loss);
  assert.ok(Number(losses.at(-1)) < Number(losses[0]) - 0.2, losses.join());
  engine.saveModel(join(root, 'tuned'));
  const written = [
    ...generateText({ modelPath: join(root, 'tuned'), prompt: 'two ', maximumTokens: 5 }),
  ].join('');
  assert.ok(written.length > 0);
});

test('data that the configuration does not name cannot be opened', async () => {
  using engine = initialize({ model: PLAIN_MODEL, config });
  await assert.rejects(async () => engine.openData(), { code: 'CONFIG_INVALID' });
});

test('parameters are gathered by their names, and a wrong one is answered with the nearest', () => {
  using engine = initialize({ model: PLAIN_MODEL, config });
  assert.deepEqual([...engine.parameterNames].sort(), [
    'embedding.weight',
    'first.weight',
    'head.bias',
    'second.weight',
  ]);
  for (const name of engine.parameterNames) {
    assert.ok(engine.gathered([name], (tensors) => tensors.get(name)?.elements));
  }
  const refusal = (name: string) => () => engine.gathered([name], () => undefined);
  assert.throws(refusal('first.weigth'), { code: 'PARAMETER_UNKNOWN', message: /"first.weight"/ });
  assert.throws(refusal('head.weight'), { code: 'PARAMETER_UNKNOWN', message: /tied/ });
});

test('a learning rate that the schedule passes over is warned of, in a program and in a run', async () => {
  const settings: UserConfig = { ...config, steps: 1, scheduler: { type: 'WarmupDecayLR' } };
  const warned = once(process, 'warning');
  using engine = initialize({ model: PLAIN_MODEL, config: settings });
  const [warning] = (await warned) as readonly unknown[];
  const expected =
    /optimizer.params.lr 0.01 has no effect: the schedule WarmupDecayLR goes by warmup_max_lr 0.001/;
  assert.match(String(warning), expected);
  assert.equal(engine.config.steps, 1);

  writeFileSync(join(root, 'ids.jsonl'), `${JSON.stringify({ input_ids: [1, 2, 3, 4] })}\n`.repeat(ROWS));
  const run = { ...settings, model: GPT2, data: { path: join(root, 'ids.jsonl'), sequence_length: 4 } };
  writeFileSync(join(root, 'run.json'), JSON.stringify(run));
  const logged: string[] = [];
  await runTraining({
    configPath: join(root, 'run.json'),
    overrides: [],
    environment: singleRank(),
    sink: (event) => void (event.event === 'log' && logged.push(event.message)),
    signal: new AbortController().signal,
  });
  assert.match(logged.join(), expected);
});

test('two models are one too many', () => {
  assert.throws(
    () => initialize({ model: PLAIN_MODEL, config: { ...config, model: GPT2 } }),
    (error) =>
      error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT' && /"plain"/.test(error.message),
  );
});
