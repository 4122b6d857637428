import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { TrainyardError } from '../../base/errors.js';
import type { ChatMessage } from '../source/document.js';
import { createDeadline, type RunWithDeadline } from './deadline.js';

const DEADLINE_MILLISECONDS = 3_000;
const LONGEST_RANGE = 100_000;
const LONGEST_OUTPUT = 16 * 1024 * 1024;

/**
 * Turns a conversation into the text that a model was, or is to be, trained on, by a Hugging Face chat template.
 *
 * The template runs in an interpreter, under a deadline, and sees no clock: the same messages always give the
 * same text, so `strftime_now` is not defined.
 */
export class ChatTemplate {
  readonly #program: ReturnType<typeof parse>;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #deadline: RunWithDeadline = createDeadline(DEADLINE_MILLISECONDS);

  /** @throws TOKENIZER_INVALID when the source is not a template. */
  constructor(source: string, variables: Readonly<Record<string, string>>) {
    this.#variables = variables;
    try {
      this.#program = this.#deadline(() =>
        parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })),
      );
    } catch (error) {
      throw new TrainyardError(
        'TOKENIZER_INVALID',
        {
          what: 'The chat template cannot be read.',
          got: error instanceof Error ? error.message : String(error),
        },
        { cause: error },
      );
    }
  }

  /** @throws DATA_INVALID, with the conversation's place, when the template refuses it or does not end. */
  render(messages: readonly ChatMessage[], place: string): string {
    try {
      const text = this.#deadline(() => this.#run(messages));
      if (text.length > LONGEST_OUTPUT) throw new Error(`the text has ${text.length} characters`);
      return text;
    } catch (error) {
      throw new TrainyardError(
        'DATA_INVALID',
        {
          what: 'The chat template does not take these messages.',
          where: place,
          got: error instanceof Error ? error.message : String(error),
        },
        { cause: error },
      );
    }
  }

  #run(messages: readonly ChatMessage[]): string {
    const environment = new Environment();
    const globals: Readonly<Record<string, unknown>> = {
      true: true,
      false: false,
      none: null,
      True: true,
      False: false,
      None: null,
      range: boundedRange,
      raise_exception: (message: unknown): never => {
        throw new Error(String(message));
      },
      add_generation_prompt: false,
      messages,
      ...this.#variables,
    };
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    return String(new Interpreter(environment).run(this.#program).value);
  }
}

/** Jinja's `range`, which a template must not fill the memory with. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const start = second === undefined ? 0 : first;
  const stop = second ?? first;
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!Number.isFinite(length) || length > LONGEST_RANGE) throw new Error(`range(…) of ${length} entries`);
  return Array.from({ length }, (_, index) => start + index * step);
}
