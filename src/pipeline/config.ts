import { z } from 'zod';
import { positiveInteger } from '../base/schema.js';

/** What the `pipeline` key says of stages: how the model comes to them, and in which order they work. */
export const pipelineStagesShape = {
  schedule: z
    .enum(['gpipe', '1f1b', 'interleaved', 'zero-bubble'])
    .default('1f1b')
    .describe(
      'The order in which stages work: "gpipe", all forwards first; "1f1b", a backward as soon as there can be one, which ' +
        'keeps fewer activations; "interleaved", the same with several `chunks` on every stage, which waits less and sends ' +
        'more; "zero-bubble", 1f1b whose backward comes in two halves, of which the second fills the waits.',
    ),
  chunks: positiveInteger()
    .default(1)
    .describe('Parts of the model on every stage; more than one with the schedule "interleaved" alone.'),
  partition: z
    .union([
      z.enum(['uniform', 'parameters', 'profile']),
      z.string().regex(/^type:.+/, 'must be a method or begin with "type:"'),
      z.array(positiveInteger()).min(2),
    ])
    .default('parameters')
    .describe(
      'How blocks come to stages (DeepSpeed: partition_method): "uniform", equally many; "parameters", as evenly as ' +
        'parameters allow; "type:REGEX", as evenly as blocks whose name matches allow; "profile", the smallest possible ' +
        'slowest stage, by measured times; or the number of blocks of each part, such as `[3, 2]`.',
    ),
};
