import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import ts from 'typescript';

// The package's types as somebody else's program sees them: through `exports`, under every strict option.

const ROOT = join(import.meta.dirname, '../..');

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  // A program need not know Node's types to use the package.
  types: [],
  noEmit: true,
};

const PROGRAM = `
import { defineConfig, type Engine, generateText, initialize, models, nn, store, tensor, TrainyardError } from 'trainyard';

export const config = defineConfig({
  model: { architecture: 'llama', vocab_size: 256, hidden_size: 64 },
  train_batch_size: 4,
  optimizer: { type: 'AdamW', params: { lr: 3e-4, betas: [0.9, 0.95] } },
  scheduler: { type: 'WarmupCosineLR', params: { total_num_steps: 20 } },
  zero_optimization: { stage: 3, stage3_prefetch_bucket_size: 1000 },
  recompute: { policy: 'selected', every: 2 },
});

// @ts-expect-error: no such key
defineConfig({ train_batch_sizes: 4 });
// @ts-expect-error: no such key in a section
defineConfig({ zero_optimization: { stag: 3 } });
// @ts-expect-error: no such stage
defineConfig({ zero_optimization: { stage: 4 } });
// @ts-expect-error: a text for a number
defineConfig({ steps: 'ten' });
// @ts-expect-error: a parameter of another optimizer
defineConfig({ optimizer: { type: 'SGD', params: { betas: [0.9, 0.95] } } });
// @ts-expect-error: no such optimizer
defineConfig({ optimizer: { type: 'Adamw' } });

const scale: nn.Block = {
  name: 'scale',
  parameters: [{ name: 'weight', shape: [4], initializer: { kind: 'constant', value: 1 } }],
  forward(parameters, input, { batch, lossScale }) {
    const rows: tensor.Tensor = batch.inputIds;
    const weight = parameters.get('weight').value.mul(lossScale);
    return { ...input, hidden: rows.mul(weight) };
  },
};
const model: nn.Model = { architecture: 'mine', vocabularySize: 4, blocks: [scale] };

export function train(engine: Engine): number {
  const { loss, gradientNorm, stopAsked } = engine.trainBatch({ inputIds: [[1, 2, 3]] });
  const folder: string | undefined = engine.save('checkpoints');
  const tag: string | undefined = engine.load('checkpoints')?.tag;
  const whole = engine.gathered(['weight'], (tensors) => tensors.get('weight')?.toFloat32Array());
  const values: Float32Array | undefined = whole;
  engine.saveModel(tag ?? folder ?? 'model');
  // @ts-expect-error: a step has no such figure
  engine.trainBatch({ inputIds: [[1]] }).perplexity;
  return stopAsked ? gradientNorm : loss + (values?.[0] ?? 0);
}

export const engines: readonly Engine[] = [initialize({ config }), initialize({ config: {}, model })];
// @ts-expect-error: the configuration is missing
initialize({ model });
export const fromConfig: nn.Model = models.modelFromConfig(store.openModelFolder('folder').config);
export const text: Generator<string> = generateText({ modelPath: 'm', prompt: 'p', maximumTokens: 1, temperature: 0, seed: 0 });
export const isOurs = (error: unknown): error is TrainyardError => error instanceof TrainyardError;
`;

describe('the types of the package', { concurrency: 1 }, () => {
  let folder = '';
  before(() => {
    // Inside the clone, so that the package finds itself under its name.
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    folder = mkdtempSync(join(ROOT, 'build/consumer-'));
    writeFileSync(join(folder, 'program.mts'), PROGRAM);
    writeFileSync(join(folder, 'names.mts'), "export * from 'trainyard';\n");
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('let a strict program compile, and refuse one with a mistake', () => {
    const program = ts.createProgram([join(folder, 'program.mts')], OPTIONS);
    assert.deepEqual(messagesOf(program), []);
  });

  test("let the README's programs compile under --strict", () => {
    const blocks = readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms);
    const files = [...blocks].map(([, text = ''], index) => {
      const file = join(folder, `readme-${index}.mts`);
      writeFileSync(file, text);
      return file;
    });
    assert.ok(files.length >= 3);
    const { noUncheckedIndexedAccess: _, exactOptionalPropertyTypes: __, ...strict } = OPTIONS;
    assert.deepEqual(messagesOf(ts.createProgram(files, { ...strict, types: ['node'] })), []);
  });

  test('complete the keys of a configuration, each with its description', () => {
    const before = "import { defineConfig } from 'trainyard';\ndefineConfig({ zero_optimization: { ";
    const file = join(folder, 'completion.mts');
    const service = languageServiceOf(file, `${before} } });\n`);
    const names = service
      .getCompletionsAtPosition(file, before.length, undefined)
      ?.entries.map(({ name }) => name);
    for (const name of ['stage', 'overlap_comm', 'stage3_prefetch_bucket_size'])
      assert.ok(names?.includes(name), name);
    const details = service.getCompletionEntryDetails(
      file,
      before.length,
      'stage',
      undefined,
      undefined,
      undefined,
      undefined,
    );
    assert.match(ts.displayPartsToString(details?.documentation), /divided over the data-parallel ranks/);
  });

  test('hold no any', () => {
    const program = ts.createProgram([join(folder, 'names.mts')], OPTIONS);
    const checker = program.getTypeChecker();
    const source = program.getSourceFile(join(folder, 'names.mts'));
    const module = source && checker.getSymbolAtLocation(source);
    assert.ok(module);
    const walk = new AnyFinder(checker);
    walk.module(module, 'trainyard');
    assert.ok(walk.visited > 300, `only ${walk.visited} types were looked at`);
    assert.deepEqual(walk.found, []);
  });
});

/** What is wrong with the program and the package; not with TypeScript's own files and other packages. */
function messagesOf(program: ts.Program): readonly string[] {
  const files = program.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'));
  return files.flatMap((file) => {
    const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    return found.map(({ start = 0, messageText }) => {
      const { line } = file.getLineAndCharacterOfPosition(start);
      return `${file.fileName}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
  });
}

function languageServiceOf(file: string, text: string): ts.LanguageService {
  return ts.createLanguageService({
    getCompilationSettings: () => OPTIONS,
    getScriptFileNames: () => [file],
    getScriptVersion: () => '1',
    getScriptSnapshot: (name) => {
      const content = name === file ? text : ts.sys.readFile(name);
      return content === undefined ? undefined : ts.ScriptSnapshot.fromString(content);
    },
    getCurrentDirectory: () => ROOT,
    getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
    fileExists: (name) => name === file || ts.sys.fileExists(name),
    readFile: (name) => (name === file ? text : ts.sys.readFile(name)),
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
  });
}

/** Looks for `any` in everything that can be reached from a module's exports and is declared by the package. */
class AnyFinder {
  readonly found: string[] = [];
  readonly #seen = new Set<ts.Type>();

  constructor(readonly checker: ts.TypeChecker) {}

  get visited(): number {
    return this.#seen.size;
  }

  module(module: ts.Symbol, path: string): void {
    for (const exported of this.checker.getExportsOfModule(module)) {
      const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
      const symbol = isAlias ? this.checker.getAliasedSymbol(exported) : exported;
      const name = `${path}.${exported.name}`;
      if ((symbol.flags & ts.SymbolFlags.ValueModule) !== 0) this.module(symbol, name);
      else {
        if ((symbol.flags & ts.SymbolFlags.Type) !== 0)
          this.type(this.checker.getDeclaredTypeOfSymbol(symbol), name);
        if ((symbol.flags & ts.SymbolFlags.Value) !== 0)
          this.type(this.checker.getTypeOfSymbol(symbol), name);
      }
    }
  }

  type(type: ts.Type, path: string): void {
    if ((type.flags & ts.TypeFlags.Any) !== 0) {
      this.found.push(path);
      return;
    }
    if (this.#seen.has(type)) return;
    this.#seen.add(type);
    if (type.isUnionOrIntersection()) for (const part of type.types) this.type(part, path);
    for (const argument of type.aliasTypeArguments ?? []) this.type(argument, `${path}<>`);
    const declarations = (type.aliasSymbol ?? type.symbol)?.declarations ?? [];
    if ((type.flags & ts.TypeFlags.Object) === 0) return;
    for (const argument of this.#givenArguments(type as ts.TypeReference)) this.type(argument, `${path}<>`);
    if (!declarations.some((each) => each.getSourceFile().fileName.includes('/dist/src/'))) return;
    for (const signature of [...type.getCallSignatures(), ...type.getConstructSignatures()]) {
      this.type(signature.getReturnType(), `${path}()`);
      for (const parameter of signature.parameters) {
        this.type(this.checker.getTypeOfSymbol(parameter), `${path}(${parameter.name})`);
      }
    }
    for (const property of type.getProperties()) {
      if (property.name.includes('#')) continue;
      this.type(this.checker.getTypeOfSymbol(property), `${path}.${property.name}`);
    }
    for (const { type: value } of this.checker.getIndexInfosOfType(type)) this.type(value, `${path}[]`);
  }

  /** TypeScript's own default for what an iterable returns in the end is any. */
  #givenArguments(type: ts.TypeReference): readonly ts.Type[] {
    const given = this.checker.getTypeArguments(type);
    return type.getSymbol()?.name === 'Iterable' ? given.slice(0, 1) : given;
  }
}
