import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PublicEvent } from '../src/launch/events.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'trainyard-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function trainyard(parameters: readonly string[], variables: Readonly<Record<string, string>> = {}): Answer {
  return spawnSync(process.execPath, [MAIN, ...parameters], {
    encoding: 'utf8',
    cwd: folder,
    env: { ...process.env, ...variables },
  });
}

/** A model and data so small that a step takes milliseconds. */
function writeConfig(name: string, changes: object = {}): string {
  const data = join(folder, 'corpus.txt');
  writeFileSync(data, 'the quick brown fox jumps over the lazy dog\n'.repeat(200));
  const path = join(folder, `${name}.json`);
  const config = {
    model: {
      architecture: 'llama',
      vocab_size: 260,
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
    },
    data: { path: data, tokenizer: 'bytes', sequence_length: 16 },
    steps: 6,
    output: join(folder, name),
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { lr: 1e-2 } },
    ...changes,
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

function checkpointsIn(output: string): readonly string[] {
  return readdirSync(join(folder, output, 'checkpoints')).filter((name) => name.startsWith('step-'));
}

function eventsIn(stdout: string): readonly PublicEvent[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as PublicEvent);
}

test('help is on stdout, complete, and ends with 0', () => {
  const { status, stdout, stderr } = trainyard(['--help']);
  assert.equal(status, 0);
  assert.equal(stderr, '');
  for (const command of [
    'train',
    'inspect',
    'program',
    'generate',
    'merge',
    'bench',
    'tokenizer',
    'doctor',
    'schema',
    'demo',
  ]) {
    assert.match(stdout, new RegExp(`^ {2}${command}\\b`, 'm'));
  }
  assert.match(trainyard(['--version']).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('help loads neither libtorch nor a command', () => {
  const { stderr } = spawnSync('node', [MAIN, '--help'], {
    encoding: 'utf8',
    env: { ...process.env, NODE_DEBUG: 'esm', TRAINYARD_NATIVE: '/nowhere' },
  });
  assert.doesNotMatch(stderr, /cli\/commands|src\/(tensor|engine|native|data)/);
});

/** A wrong command line, and what the answer must say. */
const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [['trian', 'x'], /Unknown command 'trian'\.\n {2}cure {6}did you mean train\?/],
  [['train', 'x', '--rnaks', '2'], /Unknown option '--rnaks'\.\n {2}cure {6}did you mean --ranks\?/],
  [['bench', 'dispach'], /did you mean dispatch\?/],
  [['train'], /Missing required argument 'config'/],
  [['train', 'x', '--ranks', '0'], /--ranks.*invalid.*whole number of at least 1/],
  [['train', 'x', '--ranks', '4:2'], /--ranks.*invalid.*the fewest first/],
  [['train', 'x', '--hostfile', 'nowhere'], /error HOSTFILE_INVALID/],
  [['train', 'x', '--include', 'a'], /need a --hostfile/],
  [['launch', 'x', '--emit', 'kubernetes', '--hosts', '2', '--ranks-per-host', '1'], /--image/],
  [['generate', 'x'], /'--prompt <text>' not specified/],
  [['generate', 'x', '--prompt', 'a', '--temperature', '-1'], /temperature.*0 or more/],
  [['program', 'x', '--ranks', '2', '--rank', '2'], /There is no rank 2/],
  [['train', 'nowhere.json'], /error CONFIG_UNREADABLE/],
  [['inspect', 'nowhere.json'], /error CONFIG_UNREADABLE/],
  [['program', 'nowhere.json'], /error CONFIG_UNREADABLE/],
  [['generate', 'nowhere', '--prompt', 'a'], /error MODEL_UNREADABLE/],
  [['tokenizer', 'train', 'nowhere.txt', '--output', 'x'], /error DATA_UNREADABLE/],
  [['bench', 'step', '--ranks', '3'], /cannot be shared by 3 ranks/],
];

for (const [parameters, pattern] of WRONG) {
  test(`trainyard ${parameters.join(' ')}: one clear error, exit code 2`, () => {
    const { status, stdout, stderr } = trainyard(parameters);
    assert.equal(status, 2, stderr);
    assert.match(stderr, pattern);
    assert.equal(stdout, '');
    assert.equal(stderr.match(/^error/gm)?.length, 1);
    assert.doesNotMatch(stderr, /^\s+at .*:\d+:\d+\)?$/m);
  });
}

test('without a command the help comes as an error', () => {
  const { status, stdout, stderr } = trainyard([]);
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /^Usage: trainyard/);
});

test('two ranks train; --json prints events and nothing else', () => {
  const { status, stdout, stderr } = trainyard([
    'train',
    writeConfig('json'),
    '--ranks',
    '2',
    '--json',
    '--set',
    'steps=4',
  ]);
  assert.equal(status, 0, stderr);
  const events = eventsIn(stdout);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['start', 'step', 'step', 'step', 'step', 'checkpoint', 'end'],
  );
  const [start] = events;
  assert.ok(start?.event === 'start' && start.world_size === 2 && start.parameters > 1000);
  const end = events.at(-1);
  assert.ok(end?.event === 'end' && end.steps === 4 && end.peak_memory_bytes.length === 2);
  const [predicted = [], measured = []] = [end.predicted_peak_bytes, end.measured_peak_bytes];
  assert.equal(measured.length, 2);
  for (const [rank, bytes] of measured.entries()) {
    assert.ok(Math.abs((predicted[rank] ?? 0) - bytes) < 0.05 * bytes, `${predicted} bytes for ${measured}`);
  }
  assert.match(stderr, /^2 ranks × \d+ thread/);
  assert.ok(existsSync(join(folder, 'json', 'model.safetensors')));
});

test('a log has the first and the last step, and generate continues with what was trained', () => {
  const trained = trainyard(['train', writeConfig('log')]);
  assert.equal(trained.status, 0, trained.stderr);
  assert.equal(trained.stdout, '');
  assert.match(trained.stderr, /^step 1\/6 /m);
  assert.match(trained.stderr, /^step 6\/6 /m);
  assert.match(trained.stderr, /^done: 6 steps/m);
  const written = trainyard(['generate', join(folder, 'log'), '--prompt', 'the quick', '--max-tokens', '5']);
  assert.equal(written.status, 0, written.stderr);
  assert.ok(written.stdout.startsWith('the quick'));
});

test('steps_per_print says which steps a log has', () => {
  const config = writeConfig('seldom', { steps_per_print: 4, steps: 10 });
  const { status, stderr } = trainyard(['train', config]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(
    [...stderr.matchAll(/^step (\d+)\/10 /gm)].map(([, step]) => step),
    ['1', '4', '8', '10'],
  );
});

test('generate reads every token of its prompt', () => {
  // What follows a character depends on the one before it: "a" on its own says nothing.
  const text = join(folder, 'pairs.txt');
  writeFileSync(text, 'xayb zabx '.repeat(300));
  const config = writeConfig('pairs', {
    data: { path: text, tokenizer: 'bytes', sequence_length: 16 },
    steps: 150,
    seed: 3,
  });
  const trained = trainyard(['train', config]);
  assert.equal(trained.status, 0, trained.stderr);
  const continuation = (prompt: string): string => {
    const args = ['--prompt', prompt, '--max-tokens', '3', '--temperature', '0'];
    const { status, stdout, stderr } = trainyard(['generate', join(folder, 'pairs'), ...args]);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  assert.equal(continuation('zabx xa'), 'zabx xayb \n');
  assert.equal(continuation('xayb za'), 'xayb zabx \n');
});

test('inspect and program answer for people and for programs', () => {
  const config = writeConfig('look');
  const inspection = JSON.parse(trainyard(['inspect', config, '--json']).stdout) as Record<string, unknown>;
  assert.deepEqual(Object.keys(inspection), ['loss', 'logits_norm', 'logits_0_last', 'grad_norms']);
  assert.match(trainyard(['inspect', config]).stdout, /^loss {9}5\.\d+$/m);
  assert.match(trainyard(['program', config, '--ranks', '2', '--rank', '1']).stdout, /^rank 1 of 2/);
  assert.equal(
    (JSON.parse(trainyard(['program', config, '--ranks', '2', '--json']).stdout) as unknown[]).length,
    2,
  );
});

test('bench step measures a training run and prints it under the names of the Python programs', () => {
  const { status, stdout, stderr } = trainyard(['bench', 'step', '--ranks', '2', '--steps', '2', '--json']);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as Readonly<Record<string, number | string>>;
  assert.equal(result.peer, 'trainyard');
  assert.deepEqual([result.world, result.dim, result.seq, result.batch], [2, 256, 128, 16]);
  assert.ok(Math.abs(Number(result.loss_first) - Math.log(4096)) < 0.1);
  assert.ok(Math.abs((Number(result.tokens_s) * Number(result.step_ms)) / 1000 - 16 * 128) < 10);
});

test('bench adam tells the peer what to update, bench io finds one, and both print ratios', () => {
  const peer = join(folder, 'peer.mjs');
  writeFileSync(
    peer,
    "console.log(JSON.stringify({ ms: Number(process.argv.slice(2).join('').match(/--tensors(\\d+)/)?.[1]) }))",
  );
  const sizes = ['--elements', '4000', '--steps', '2', '--rounds', '1', '--json'];
  const adam = trainyard(['bench', 'adam', ...sizes, '--', process.execPath, peer]);
  assert.equal(adam.status, 0, adam.stderr);
  const { cases } = JSON.parse(adam.stdout) as {
    readonly cases: readonly Readonly<Record<string, number>>[];
  };
  assert.deepEqual(
    cases.map(({ tensors, threads, peer_ms: heard }) => [tensors, threads, heard]),
    [1, 2].flatMap((threads) => [1, 200].map((tensors) => [tensors, threads, tensors])),
  );
  for (const { ms, ratio, peer_ms: other } of cases)
    assert.ok(Math.abs(Number(ratio) * Number(ms) - Number(other)) < 1e-6);
  const io = trainyard(['bench', 'io', '--folder', folder, '--bytes', '100000', '--rounds', '1', '--json']);
  assert.equal(io.status, 0, io.stderr);
  assert.doesNotMatch(io.stdout, /null/);
  assert.match(io.stdout, /"peer":"(fio|dd)".*"read":{"gb_s":/);
  const missing = trainyard(['bench', 'io', '--folder', join(folder, 'missing')]);
  assert.equal(missing.status, 2);
  assert.match(missing.stderr, /OFFLOAD_UNUSABLE.*\n[\s\S]*--folder/);
});

test('tokenizer train writes the files of a tokenizer', () => {
  const text = join(folder, 'words.txt');
  writeFileSync(text, 'low lower lowest newer newest widest '.repeat(50));
  const { status, stderr } = trainyard([
    'tokenizer',
    'train',
    text,
    '--output',
    'tokenizer',
    '--vocabulary-size',
    '270',
  ]);
  assert.equal(status, 0, stderr);
  const file = JSON.parse(readFileSync(join(folder, 'tokenizer', 'tokenizer.json'), 'utf8')) as {
    readonly model: { readonly vocab: Readonly<Record<string, number>> };
  };
  assert.equal(Object.keys(file.model.vocab).length, 270);
});

test('schema and doctor print JSON', () => {
  assert.equal((JSON.parse(trainyard(['schema']).stdout) as { readonly type?: string }).type, 'object');
  const { status, stdout } = trainyard(['doctor', '--json']);
  assert.equal(status, 0, stdout);
  assert.equal((JSON.parse(stdout) as { readonly can_train?: boolean }).can_train, true);
});

test('numbers that are not finite end the run, and what was saved before stays', () => {
  const config = writeConfig('diverged');
  assert.equal(trainyard(['train', config]).status, 0);
  const model = join(folder, 'diverged', 'model.safetensors');
  const [before, checkpoints] = [readFileSync(model), checkpointsIn('diverged')];
  const optimizer = '--set=optimizer={"type": "SGD", "params": {"lr": 1e38}}';
  const { status, stdout, stderr } = trainyard(['train', config, '--ranks', '2', '--json', optimizer]);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /error TRAINING_DIVERGED: The loss of step 2 is not finite/);
  assert.match(stderr, / at +rank \d, step 2, instruction \d+: forward/);
  assert.match(stderr, /trainyard replay .*diverged\/non-finite\/step-2/);
  assert.equal(stderr.match(/TRAINING_DIVERGED/g)?.length, 1);
  const events = eventsIn(stdout);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['start', 'step', 'error'],
  );
  assert.deepEqual(readFileSync(model), before);
  assert.deepEqual(checkpointsIn('diverged'), checkpoints);
});

for (const [output, reason] of [
  ['corpus.txt', 'something else of this name is in the way'],
  ['/proc/trainyard', 'no folder can be made there'],
] as const) {
  test(`${output} cannot be the output, which is said before any rank starts`, () => {
    const { status, stdout, stderr } = trainyard([
      'train',
      writeConfig('unwritable'),
      '--ranks=2',
      `--set=output=${output}`,
    ]);
    assert.equal(status, 2, stderr);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      new RegExp(`^error OUTPUT_UNUSABLE(.|\\n)+ at +output \\(--set output=${output}\\)`),
    );
    assert.ok(stderr.includes(reason), stderr);
  });
}

test('under another launcher, rank 0 tries the output before it trains', () => {
  const config = writeConfig('tried');
  const variables = { RANK: '0', WORLD_SIZE: '1' };
  const { status, stderr } = trainyard(['train', config, '--set=output=corpus.txt'], variables);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /error OUTPUT_UNUSABLE/);
  assert.doesNotMatch(stderr, /^step /m);
});

test('a token cache that cannot be made is told with the way to another', () => {
  const variables = { TRAINYARD_CACHE: join(folder, 'corpus.txt') };
  const { status, stderr } = trainyard(['train', writeConfig('uncached')], variables);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /error OUTPUT_UNWRITABLE: The token cache(.|\n)+TRAINYARD_CACHE/);
});

test('a mistake in the configuration is said once, however many ranks find it', () => {
  const { status, stderr } = trainyard(['train', writeConfig('wrong', { stepz: 1 }), '--ranks', '2']);
  assert.equal(status, 2);
  assert.equal(
    stderr.match(/stepz/g)?.length,
    stderr.match(/error CONFIG_INVALID[\s\S]*/)?.[0].match(/stepz/g)?.length,
  );
  assert.equal(stderr.match(/error CONFIG_INVALID/g)?.length, 1);
});

test('as a rank of another launcher there is no supervisor, and a failure is written for torchrun', () => {
  const variables = { RANK: '0', WORLD_SIZE: '1', TORCHELASTIC_ERROR_FILE: join(folder, 'error.json') };
  const { status, stderr } = trainyard(['train', writeConfig('joined')], variables);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^rank 0 of 1, as RANK and WORLD_SIZE say$/m);
  assert.ok(!existsSync(variables.TORCHELASTIC_ERROR_FILE));
  assert.equal(trainyard(['train', 'nowhere.json'], variables).status, 2);
  const report = JSON.parse(readFileSync(variables.TORCHELASTIC_ERROR_FILE, 'utf8')) as {
    readonly message: { readonly message: string; readonly extraInfo: { readonly timestamp: string } };
  };
  assert.match(report.message.message, /^CONFIG_UNREADABLE: /);
  assert.match(report.message.extraInfo.timestamp, /^\d{10}$/);
  const contradiction = trainyard(['train', 'x', '--ranks', '2'], variables);
  assert.match(contradiction.stderr, /--ranks 2 contradicts .*WORLD_SIZE=1/);
});

for (const [signal, exitCode] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const) {
  test(`${signal}: the ranks finish the step, save and leave with ${exitCode}`, async () => {
    const config = writeConfig(signal, { steps: 1_000_000 });
    const run = spawn(process.execPath, [MAIN, 'train', config, '--ranks', '2', '--json'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, people]: [string[], string[]] = [[], []];
    let isAsked = false;
    run.stderr.on('data', (bytes: Buffer) => people.push(String(bytes)));
    run.stdout.on('data', (bytes: Buffer) => {
      output.push(String(bytes));
      // Once: a second signal means to leave without saving.
      if (isAsked || !output.join('').includes('"step":3,')) return;
      isAsked = run.kill(signal);
    });
    const [code] = (await once(run, 'close')) as [number | null];
    assert.equal(code, exitCode);
    assert.match(people.join(''), /finishing the step and saving/);
    const end = JSON.parse(output.join('').trimEnd().split('\n').at(-1) ?? '') as PublicEvent;
    assert.ok(end.event === 'end' && end.stopped === true && end.steps >= 3);
    assert.ok(existsSync(join(folder, signal, 'model.safetensors')));
    assert.deepEqual(checkpointsIn(signal), [`step-${end.steps}`]);
  });
}

test('a run without an output says that a stop saves nothing', async () => {
  const config = writeConfig('nothing', { steps: 1_000_000, output: undefined });
  const run = spawn(process.execPath, [MAIN, 'train', config, '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [events, people, isAsked] = ['', '', false];
  run.stderr.on('data', (bytes: Buffer) => {
    people += String(bytes);
  });
  run.stdout.on('data', (bytes: Buffer) => {
    events += String(bytes);
    if (!isAsked && events.includes('"step":2,')) isAsked = run.kill('SIGINT');
  });
  const [code] = (await once(run, 'close')) as [number | null];
  assert.equal(code, 130, people);
  assert.match(people, /^finishing the step; nothing is saved; press Ctrl-C again to leave now$/m);
  assert.doesNotMatch(people, /and saving|--resume/);
});

test('who stops reading the events ends the run', async () => {
  const config = writeConfig('unread', { steps: 1_000_000 });
  const run = spawn(process.execPath, [MAIN, 'train', config, '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(run.stdout, 'data');
  run.stdout.destroy();
  const [code] = (await once(run, 'exit')) as [number | null];
  assert.equal(code, 143);
});

test('on a terminal the line is drawn over, with a curve, and the cursor comes back', () => {
  const config = writeConfig('terminal', { steps: 40 });
  const command = `stty cols 100; exec '${process.execPath}' '${MAIN}' train '${config}'`;
  const { CI: _, NO_COLOR: __, ...variables } = process.env;
  const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
    encoding: 'utf8',
    cwd: folder,
    env: { ...variables, TERM: 'xterm-256color' },
  });
  assert.equal(status, 0, stdout);
  assert.ok(
    stdout.includes('\u001b[?25l') && stdout.lastIndexOf('\u001b[?25h') > stdout.lastIndexOf('\u001b[?25l'),
  );
  assert.match(stdout, /step 40\/40/);
  assert.match(stdout, /[▁-█]{8}/);
  assert.match(stdout, /done: 40 steps/);
});
