// The programs of commands in a container that runs.
import type { ExecOptions } from '../../types/exec.js';
import { ContainedError } from '../errors.js';
import { resolveExec, type Target } from '../options/exec.js';
import { keyOf, Known } from '../options/key.js';
import type { Inheritance } from '../options/settings.js';
import { compile } from '../program/compile.js';
import { impossibleTemplate, Template } from './template.js';
import { shapeOf, streamsOf, type Entry } from './stdio.js';

export const notRunning = (ended: boolean): ContainedError => new ContainedError({
  code: 'ESRCH', errno: -3, syscall: undefined, path: undefined, dest: undefined, step: 'enter the container',
  hint: ended ? 'it has ended' : 'it does not run yet: await its `ready`',
});

/** Those of one container: the same options mean the same program. */
export class Execs {
  readonly #templates = new Known<Template>();

  templateFor(options: ExecOptions, entries: readonly Entry[], from: Inheritance, target: Target | ContainedError): Template {
    if (target instanceof ContainedError) return impossibleTemplate(target, entries.length);
    const key = keyOf(options, shapeOf(entries));
    const known = this.#templates.find(key);
    if (known) return known;
    const settings = resolveExec(options, from, target);
    const template = new Template(settings, command => compile(settings, streamsOf(entries), command));
    // Dividing a group is done once, and changes what the next ones need.
    if (!settings.impossible && !settings.entered?.divide) this.#templates.keep(key, template);
    return template;
  }
}
