/** A Hugging Face configuration as it stands in config.json. */
export type RawConfig = Readonly<Record<string, unknown>>;

/**
 * The configuration in the forms of transformers 5 and of 4 at once, so that either reads it: `dtype` beside
 * `torch_dtype`, and `rope_parameters` beside `rope_theta` and `rope_scaling`. What is given in one form only
 * is completed; nothing that is given changes.
 */
export function inBothForms(config: RawConfig): RawConfig {
  return { ...config, ...dtypeForms(config), ...rotaryForms(config) };
}

function dtypeForms(config: RawConfig): RawConfig {
  const dtype = config.dtype ?? config.torch_dtype;
  return dtype === undefined ? {} : { dtype, torch_dtype: dtype };
}

function rotaryForms(config: RawConfig): RawConfig {
  const { rope_parameters: parameters, rope_scaling: scaling } = config;
  // Where both are given, transformers takes rope_scaling, in either version.
  if (isRecord(scaling)) return { rope_parameters: parametersFrom(config, scaling) };
  if (isRecord(parameters)) {
    // One set of parameters per kind of layer has no form in version 4.
    if (Object.values(parameters).some(isRecord)) return {};
    return fromParameters(parameters);
  }
  return config.rope_theta === undefined
    ? {}
    : { rope_parameters: parametersFrom(config, {}), rope_scaling: null };
}

function parametersFrom(config: RawConfig, scaling: RawConfig): RawConfig {
  const { type, ...rest } = scaling;
  return {
    ...(config.rope_theta === undefined ? {} : { rope_theta: config.rope_theta }),
    ...(config.partial_rotary_factor === undefined
      ? {}
      : { partial_rotary_factor: config.partial_rotary_factor }),
    rope_type: type ?? 'default',
    ...rest,
  };
}

function fromParameters(parameters: RawConfig): RawConfig {
  const { rope_theta: theta, partial_rotary_factor: partial, ...scaling } = parameters;
  const isDefault = scaling.rope_type === undefined || scaling.rope_type === 'default';
  return {
    ...(theta === undefined ? {} : { rope_theta: theta }),
    ...(partial === undefined ? {} : { partial_rotary_factor: partial }),
    rope_scaling: isDefault ? null : scaling,
  };
}

function isRecord(value: unknown): value is RawConfig {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0
  );
}

/** Generation's defaults as transformers derives them from a configuration: which tokens begin, end and fill. */
export function generationConfigOf(config: RawConfig): RawConfig {
  const tokens = ['bos_token_id', 'eos_token_id', 'pad_token_id'];
  const given = tokens.filter((name) => config[name] !== undefined && config[name] !== null);
  return {
    _from_model_config: true,
    ...Object.fromEntries(given.map((name) => [name, config[name]])),
  };
}
