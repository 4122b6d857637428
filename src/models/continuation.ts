import { invariant } from '../base/errors.js';
import type { Activations, BlockParameters, Model } from '../nn/block.js';
import { KeyValueCache } from '../nn/key-value-cache.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import type { Device } from '../tensor/dtype.js';
import { scope } from '../tensor/tensor.js';

/** How a text is continued. */
export interface ContinuationOptions {
  readonly device: Device;
  /** The most tokens the model is to look back on; a model with a longest sequence never looks back further. */
  readonly capacity: number;
}

/**
 * A model reading one text that grows token by token: what attention needs of the tokens already read is kept.
 * When the text outgrows the capacity, the model goes on from its last half.
 */
export class Continuation {
  readonly #model: Model;
  readonly #blocks: readonly BlockParameters[];
  readonly #device: Device;
  readonly #cache: KeyValueCache;
  #tokens: readonly number[] = [];

  constructor(model: Model, blocks: readonly BlockParameters[], options: ContinuationOptions) {
    this.#model = model;
    this.#blocks = blocks;
    this.#device = options.device;
    this.#cache = new KeyValueCache(Math.min(options.capacity, model.maximumLength ?? options.capacity));
  }

  /** Reads more tokens and returns the logits of the token after them: [vocabulary]. */
  next(tokens: readonly number[]): Float32Array {
    const { capacity } = this.#cache;
    this.#tokens = [...this.#tokens, ...tokens];
    if (this.#tokens.length <= capacity) return this.#read(tokens);
    this.#tokens = this.#tokens.slice(-Math.ceil(capacity / 2));
    this.#cache.clear();
    return this.#read(this.#tokens);
  }

  /** Frees what was kept. */
  dispose(): void {
    this.#cache.dispose();
  }

  #read(tokens: readonly number[]): Float32Array {
    const logits = noGrad(() => scope(() => this.#forward(tokens)));
    this.#cache.advance(tokens.length);
    return logits;
  }

  #forward(tokens: readonly number[]): Float32Array {
    const ids = tensor(BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
    const context = {
      batch: { inputIds: ids.toDevice(this.#device, 'int64') },
      lossScale: 1,
      training: false,
      wantLogits: true,
      cache: this.#cache,
    };
    let activations: Activations = {};
    for (const [index, block] of this.#model.blocks.entries()) {
      const parameters = this.#blocks[index];
      invariant(parameters !== undefined, 'every block has its parameters');
      activations = block.forward(parameters, activations, context);
    }
    invariant(activations.logits !== undefined, 'the last block gives logits where there are no labels');
    return activations.logits.toFloat32Array();
  }
}
