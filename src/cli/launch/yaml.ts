/** What a manifest is made of. */
export type YamlValue =
  | string
  | number
  | boolean
  | readonly YamlValue[]
  | { readonly [key: string]: YamlValue };

/** Documents of YAML, one after another. Every text is quoted, so that none is taken for anything else. */
export function yamlDocuments(documents: readonly YamlValue[]): string {
  return documents.map((document) => `${lines(document).join('\n')}\n`).join('---\n');
}

function lines(value: YamlValue): readonly string[] {
  if (typeof value !== 'object') return [scalar(value)];
  if (Array.isArray(value)) {
    return value.length === 0 ? ['[]'] : value.flatMap((item: YamlValue) => indented('- ', lines(item)));
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return ['{}'];
  return entries.flatMap(([key, item]) => {
    const below = lines(item);
    const isFlat = typeof item !== 'object' || below[0] === '[]' || below[0] === '{}';
    return isFlat ? [`${keyText(key)}: ${below[0]}`] : [`${keyText(key)}:`, ...indented('  ', below)];
  });
}

function indented(first: string, below: readonly string[]): readonly string[] {
  return below.map((line, index) => `${index === 0 ? first : '  '}${line}`);
}

function keyText(key: string): string {
  return /^[A-Za-z][A-Za-z0-9]*$/.test(key) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(key)
    ? key
    : scalar(key);
}

/** JSON's quoting is YAML's, once what YAML does not print is spelled out too. */
function scalar(value: string | number | boolean): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
