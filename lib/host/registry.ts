// Where containers with a name are kept: a directory each, below one of the user's that vanishes with the boot.
import { lstatSync, mkdirSync, type Stats } from 'node:fs';
import { ContainedError, errnoName } from '../errors.js';
import { hostFacts } from './facts.js';

const MODE = 0o700;

/** file-hierarchy(7): /run for root, $XDG_RUNTIME_DIR for others; where there is none, a directory of ours in /tmp. */
function placeOf({ uid }: { uid: number }): string {
  if (uid === 0) return '/run/spawn-contained';
  const runtime = process.env['XDG_RUNTIME_DIR'];
  return runtime?.startsWith('/') ? `${runtime}/spawn-contained` : `/tmp/spawn-contained.${uid}`;
}

const OWN = 'set XDG_RUNTIME_DIR to a directory of yours';

const wrong = (path: string, errno: number, hint: string): ContainedError => new ContainedError({
  code: errnoName(errno), errno: -errno, syscall: 'mkdir', path, dest: undefined, step: `make ${path}, where containers with a name are kept`, hint,
});

/** Somebody else's is not used: it would tell us what to kill. */
function checkOwner(path: string): void {
  let found: Stats | undefined;
  try {
    found = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw wrong(path, -((error as NodeJS.ErrnoException).errno ?? 0), OWN);
  }
  if (!found) return;
  const ours = found.isDirectory() && found.uid === hostFacts().uid && (found.mode & 0o022) === 0;
  if (!ours) throw wrong(path, 1, `it is somebody else’s; ${OWN}`);
}

/** The directory, which need not be there. */
export function registryPath(): string {
  const path = placeOf(hostFacts());
  checkOwner(path);
  return path;
}

/** For the first of this user's containers with a name. */
export function makeRegistry(): void {
  const path = placeOf(hostFacts());
  try {
    mkdirSync(path, { mode: MODE });
  } catch (error) {
    const { code, errno = 0 } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw wrong(path, -errno, OWN);
  }
  checkOwner(path);
}
