import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { encodeEvent } from '../events.js';
import { freePort } from '../free-port.js';
import { type RankCommand, RankProcess } from '../rank-process.js';
import { rankVariables } from '../rank-variables.js';
import { threadBudget } from '../threads.js';
import type { Variables } from '../variables.js';
import { interfaceTowards } from './network-interface.js';
import {
  decodeOrder,
  encodeLine,
  type HostOrder,
  type HostWord,
  type StartOrder,
  sectionToSend,
} from './protocol.js';

export interface HostAgentOptions {
  /** The program and its first arguments, to which those of the order are added. */
  readonly program: RankCommand;
  readonly variables: Variables;
  readonly version: string;
  readonly input: Readable;
  readonly output: Writable;
  /** How long the launcher may say nothing before it is taken for gone. */
  readonly silenceMs?: number;
}

/** A launcher says that it is there every few seconds. */
const SILENCE_MS = 60_000;
const SECTIONS_MS = 5000;

/**
 * Starts and watches the ranks of this host for a launcher on another one, which reads `output` and writes to `input`.
 * Returns when they have ended; when `input` ends, or nothing comes for a minute, they are killed.
 */
export async function runHostAgent(options: HostAgentOptions): Promise<void> {
  const agent = new HostAgent(options);
  await agent.say({
    word: 'ready',
    version: options.version,
    port: await freePort('0.0.0.0'),
    addresses: Object.values(networkInterfaces()).flatMap((all = []) =>
      all.map(({ address, internal }) => ({ address, isInternal: internal })),
    ),
  });
  await agent.obey();
}

class HostAgent {
  readonly #options: HostAgentOptions;
  #ranks: readonly RankProcess[] = [];
  #silence: NodeJS.Timeout | undefined;

  constructor(options: HostAgentOptions) {
    this.#options = options;
    options.output.on('error', () => this.#killAll());
  }

  /** Resolves when there is room for more. */
  async say(word: HostWord): Promise<void> {
    const { output } = this.#options;
    if (output.writable && !output.write(encodeLine(word)))
      await Promise.race([once(output, 'drain'), once(output, 'close')]).catch(() => undefined);
  }

  /** Until the launcher hangs up. */
  async obey(): Promise<void> {
    const telling = setInterval(() => this.#tellSections(), SECTIONS_MS);
    const lines = createInterface({ input: this.#options.input });
    const expectMore = (): void => {
      clearTimeout(this.#silence);
      this.#silence = setTimeout(() => lines.close(), this.#options.silenceMs ?? SILENCE_MS);
    };
    expectMore();
    for await (const line of lines) {
      expectMore();
      const order = decodeOrder(line);
      if (order !== undefined) await this.#do(order);
    }
    clearTimeout(this.#silence);
    clearInterval(telling);
    this.#killAll();
  }

  async #do(order: HostOrder): Promise<void> {
    switch (order.order) {
      case 'start':
        await this.#start(order);
        break;
      case 'signal':
        this.#ranks[order.rank]?.signal(order.signal);
        break;
      case 'kill':
        this.#ranks[order.rank]?.kill();
        break;
      case 'stay':
        break;
      default:
        order satisfies never;
    }
  }

  async #start({ arguments: words, folder, variables: added, ranks, place }: StartOrder): Promise<void> {
    const { program } = this.#options;
    try {
      process.chdir(folder);
    } catch (error) {
      await this.say({ word: 'refused', what: 'The working folder is not there.', got: String(error) });
      return;
    }
    const variables = { ...this.#options.variables, ...added };
    const budget = threadBudget(ranks, variables);
    const networkInterface =
      variables.GLOO_SOCKET_IFNAME ?? (await interfaceTowards(place.masterAddress)) ?? '';
    const command = { executable: program.executable, arguments: [...program.arguments, ...words] };
    this.#ranks = rankVariables(ranks, variables, budget, { ...place, networkInterface }).map((own, rank) =>
      this.#startRank(command, own, rank),
    );
  }

  #startRank(command: RankCommand, variables: Readonly<Record<string, string>>, rank: number): RankProcess {
    const process = new RankProcess(command, variables, {
      event: (event) => void this.say({ word: 'event', rank, line: encodeEvent(event) }),
      output: (lines) =>
        lines.length === 0 ? Promise.resolve() : this.say({ word: 'output', rank, lines: [...lines] }),
      exit: ({ code, signal }) => {
        this.#tellSection(rank);
        void this.say({ word: 'exit', rank, code, signal });
      },
    });
    void process.closed.then(() => this.say({ word: 'closed', rank }));
    return process;
  }

  #tellSections(): void {
    for (const rank of this.#ranks.keys()) this.#tellSection(rank);
  }

  #tellSection(rank: number): void {
    const section = this.#ranks[rank]?.section;
    if (section !== undefined) void this.say({ word: 'section', rank, section: sectionToSend(section) });
  }

  #killAll(): void {
    for (const rank of this.#ranks) rank.kill();
  }
}
