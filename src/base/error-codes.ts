/**
 * The table of error codes. `docs/errors.md` documents each; a test compares the two.
 * A code's exit code says whether a supervisor may try again: 2 never, 75 yes, 1 unknown.
 */
export const ERROR_CODES = {
  CONFIG_UNREADABLE: { exitCode: 2, meaning: 'The configuration file is missing or is not valid JSON.' },
  CONFIG_INVALID: { exitCode: 2, meaning: 'A configuration key is unknown, has the wrong type or value.' },
  CONFIG_UNSUPPORTED: { exitCode: 2, meaning: 'A known key asks for something that is not supported yet.' },
  CONFIG_CONFLICT: { exitCode: 2, meaning: 'Two settings cannot hold together (batch arithmetic, layouts).' },
  USAGE: { exitCode: 2, meaning: 'A command was called with wrong arguments.' },
  MODEL_UNREADABLE: { exitCode: 2, meaning: 'A model folder is missing or incomplete.' },
  MODEL_UNSUPPORTED: { exitCode: 2, meaning: 'A model configuration asks for something we do not compute.' },
  MODEL_INVALID: {
    exitCode: 2,
    meaning: 'The blocks of a model contradict each other (names, ties, shapes).',
  },
  SAFETENSORS_INVALID: { exitCode: 2, meaning: 'A safetensors file breaks a rule of the format.' },
  CHECKPOINT_INVALID: { exitCode: 2, meaning: 'A checkpoint is missing, damaged or of another run.' },
  OUTPUT_UNUSABLE: {
    exitCode: 2,
    meaning: 'The output folder cannot be made or written; found before a run.',
  },
  OUTPUT_UNWRITABLE: { exitCode: 1, meaning: 'A file or folder of the output cannot be written.' },
  OFFLOAD_UNUSABLE: {
    exitCode: 2,
    meaning: 'A folder for offloaded memory cannot be used or has too little room; found before a run.',
  },
  OFFLOAD_FAILED: {
    exitCode: 1,
    meaning: 'Offloaded memory could not be read from its file or written to it.',
  },
  DATA_UNREADABLE: { exitCode: 2, meaning: 'A data path matches nothing or cannot be read.' },
  DATA_INVALID: { exitCode: 2, meaning: 'A line or row of the data is malformed.' },
  TOKENIZER_INVALID: { exitCode: 2, meaning: 'A tokenizer is unreadable or does not fit the model.' },
  LIBTORCH_MISSING: { exitCode: 2, meaning: 'The native add-on or libtorch was not found; run the set-up.' },
  SETUP_FAILED: {
    exitCode: 2,
    meaning: 'The set-up could not finish: a tool, the network or disk is missing.',
  },
  TENSOR_OPERATOR: { exitCode: 1, meaning: 'libtorch refused an operator call (shapes, dtypes, arguments).' },
  TENSOR_FREED: { exitCode: 1, meaning: 'A tensor was used after its scope or owner freed it.' },
  PARAMETER_UNKNOWN: { exitCode: 2, meaning: 'A parameter was asked for that the model does not have.' },
  TENSOR_CONSTANT: { exitCode: 1, meaning: 'A tensor was written that never changes and that ranks share.' },
  PARAMETER_RELEASED: { exitCode: 1, meaning: 'A sharded parameter was used outside engine.gathered.' },
  PROGRAM_INVALID: { exitCode: 1, meaning: 'A step program failed its check; it would not have run.' },
  STEP_FAILED: { exitCode: 1, meaning: 'An instruction of a step program failed while it ran.' },
  TRAINING_DIVERGED: { exitCode: 1, meaning: 'The loss or the gradient norm of a step is not finite.' },
  LOSS_SCALE_EXHAUSTED: {
    exitCode: 1,
    meaning: 'Gradients overflow fp16 even at the smallest loss scale.',
  },
  BUNDLE_INVALID: { exitCode: 2, meaning: 'A bundle of a step is missing, incomplete or malformed.' },
  COLLECTIVE_FAILED: { exitCode: 75, meaning: 'A collective failed or passed its deadline: a peer is gone.' },
  FLIGHT_UNREADABLE: { exitCode: 2, meaning: 'A folder of flight records cannot be read, or holds none.' },
  RENDEZVOUS_FAILED: { exitCode: 75, meaning: 'The ranks could not find each other in time.' },
  HOSTFILE_INVALID: { exitCode: 2, meaning: 'A hostfile cannot be read, or a line of it is malformed.' },
  HOST_UNREACHABLE: { exitCode: 75, meaning: 'ssh could not reach a host.' },
  HOST_UNFIT: { exitCode: 2, meaning: 'A host was reached but cannot take part in the run.' },
  HOST_LOST: { exitCode: 75, meaning: 'The connection to a host ended in the middle of a run.' },
  RANK_LOST: { exitCode: 75, meaning: 'A rank died; the run was stopped.' },
  RANK_HUNG: { exitCode: 75, meaning: 'A rank stayed at one instruction for too long, and was stopped.' },
} as const satisfies Record<string, { readonly exitCode: 1 | 2 | 75; readonly meaning: string }>;

/** A key of the table above. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** The process exit code that an error with this code leads to. */
export function exitCodeOf(code: ErrorCode): number {
  return ERROR_CODES[code].exitCode;
}

/** Whether a text is a code of the table: what the add-on throws is checked before it becomes an error. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}
