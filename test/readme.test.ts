import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { transpileModule } from 'typescript';

// Every code block of the README runs here, in the order in which it stands there, in one folder.
const ROOT = join(import.meta.dirname, '../..');

/** Prints the one line that bench/torch_ddp.py prints, and notes what it was asked. */
const STAND_IN = `#!/bin/sh
printf '%s' "$*" > heard.txt
echo 'warming up'
echo '{"peer": "torch_ddp", "tokens_s": 5000.5, "step_ms": 204.8}'
`;

interface CodeBlock {
  readonly language: string;
  readonly text: string;
}

describe('README', () => {
  const blocks = codeBlocks(readFileSync(join(ROOT, 'README.md'), 'utf8'));
  let folder: string;

  before(() => {
    // Inside the clone, so that `trainyard` is found as a package and as a command.
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    folder = mkdtempSync(join(ROOT, 'build/readme-'));
    mkdirSync(join(folder, 'corpus'));
    writeFileSync(
      join(folder, 'corpus/once.txt'),
      'once upon a time there was a train in a yard. '.repeat(400),
    );
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const [index, { language, text }] of blocks.entries()) {
    test(`block ${index + 1} (${language}): ${text.trim().split('\n')[0]}`, () => {
      switch (language) {
        case 'ts':
          writeFileSync(
            join(folder, 'program.mjs'),
            transpileModule(text, { compilerOptions: { target: 9 } }).outputText,
          );
          succeed([process.execPath, 'program.mjs']);
          break;
        case 'text':
          for (const line of text.trim().split('\n')) runBesidePeer(line);
          break;
        case 'jsonc':
          // A block may say what it is called.
          writeFileSync(join(folder, /^\/\/ (\S+\.json)$/m.exec(text)?.[1] ?? 'run.json'), text);
          break;
        case 'sh':
          for (const line of text.trim().split('\n')) runLine(line);
          break;
        default:
          assert.fail(`no way to run a block of ${language}`);
      }
    });
  }

  function runLine(line: string): void {
    // This very test runs inside `npm test`.
    if (line === 'npm test') return;
    // The whole demonstration takes minutes; a few steps of it show that the command works.
    const short =
      line === 'npm start'
        ? `npm start -- --steps 2 --output ${join(folder, 'demo')}`
        : line.replace(/--preset \w/, '--preset S').replace(/--steps \d+/, '--steps 2');
    succeed(['bash', '-c', short]);
  }

  /** A line that needs a Python with torch: a stand-in says what the program of that name would say. */
  function runBesidePeer(line: string): void {
    const stand = join(folder, 'stand-in');
    mkdirSync(stand, { recursive: true });
    writeFileSync(join(stand, 'python3'), STAND_IN, { mode: 0o755 });
    const [, peer = ''] = line.split(' -- python3 ');
    const [script = '', ...args] = peer.split(' ');
    assert.ok(existsSync(join(ROOT, script)), `${script} is not in the clone`);
    // The smallest decoder, for a moment: numbers are the business of who runs the line itself.
    const short = line.replace(/--rounds \d+/, '--rounds 1 --steps 2').replace(/--preset \w/, '--preset S');
    assert.notEqual(short, line);
    const output = succeed(['bash', '-c', short], { PATH: `${stand}:${process.env.PATH ?? ''}` });
    const heard = readFileSync(join(folder, 'heard.txt'), 'utf8');
    assert.equal(heard, [script, ...args].join(' '), 'the peer hears its own arguments');
    assert.match(output, /^[\d.,]+[kMG]? tokens\/s, [\d.]+ ms a step/m);
    assert.match(output, /^\d+\.\d\d times the peer's tokens\/s \(median of \d+\.\d\d\)$/m);
  }

  function succeed([command = '', ...args]: readonly string[], variables: NodeJS.ProcessEnv = {}): string {
    const { status, stdout, stderr } = spawnSync(command, args, {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, ...variables },
    });
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    return stdout;
  }
});

function codeBlocks(markdown: string): readonly CodeBlock[] {
  return [...markdown.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));
}
