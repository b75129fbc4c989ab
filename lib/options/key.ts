// A text that is the same for options that mean the same program, so that it need not be checked and compiled again.
import { isPlaced, placement } from './place.js';

/** These are looked at anew for every run. */
const OF_THE_RUN = new Set(['command', 'argv0', 'env', 'stdio', 'timeout', 'maxOutput', 'signal', 'killSignal', 'killGrace', 'trace']);

/** Strings carry their length, so that no two values have one text. Undefined where a text cannot stand for the value. */
function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string': return `${value.length}"${value}`;
    case 'number': case 'boolean': return String(value);
    case 'object': break;
    default: return undefined;
  }
  if (value === null) return undefined;
  if (Array.isArray(value)) {
    let text = '[';
    for (const element of value) {
      const part = textOf(element);
      if (part === undefined) return undefined;
      text += `${part},`;
    }
    return `${text}]`;
  }
  if (isPlaced(value)) return textOf([...value[placement].v1.values(), value[placement].unified?.directory ?? '']);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return undefined;
  return fieldsOf(value as Record<string, unknown>, false);
}

function fieldsOf(value: Record<string, unknown>, top: boolean): string | undefined {
  let text = '{';
  for (const key in value) {
    if (value[key] === undefined || (top && OF_THE_RUN.has(key))) continue;
    const part = textOf(value[key]);
    if (part === undefined) return undefined;
    text += `${key.length}"${key}:${part},`;
  }
  return `${text}}`;
}

/** Relative paths count from the current directory. */
export function keyOf(options: object): string | undefined {
  const fields = fieldsOf(options as Record<string, unknown>, true);
  return fields === undefined ? undefined : `${process.cwd()}${fields}`;
}
