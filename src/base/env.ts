/**
 * The only reader of `process.env`: each variable by its typed name. Getters, so that a test can set a
 * variable and see it.
 */
export const env = {
  /** TRAINYARD_DEBUG=1: stack traces, C++ ones included, in error messages. */
  get debug(): boolean {
    return isOn(process.env.TRAINYARD_DEBUG);
  },
  /** TRAINYARD_NATIVE: path of the add-on, where it is not in `build/native`. */
  get nativePath(): string | undefined {
    return nonEmpty(process.env.TRAINYARD_NATIVE);
  },
};

function isOn(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
