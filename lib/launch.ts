// Requests to the launcher, and what it says to the handle that waits for it.
import { AsyncResource } from 'node:async_hooks';
import { hearOfContainers, native, type NativeExit } from './native.js';

/** Who is told of a launched program. */
export interface LaunchListener {
  /** `terminal`: the master of the command's terminal, for the listener to own. */
  onReady(pid: number, trace: Buffer | undefined, terminal: number | undefined): void;
  onExit(pid: number, exit: NativeExit): void;
}

interface Live {
  listener: LaunchListener;
  ref: boolean;
  /** Where it was started: what it leads to goes on in that context (AsyncLocalStorage). */
  scope: AsyncResource;
}

const live = new Map<number, Live>();
let refs = 0;
let listening = false;

function hear(id: number, pid: number, trace: Buffer | undefined, exit: NativeExit | undefined, terminal: number | undefined): void {
  const entry = live.get(id);
  if (!entry) return;
  if (exit) {
    setRef(id, false);
    live.delete(id);
  }
  try {
    entry.scope.runInAsyncScope(() => exit ? entry.listener.onExit(pid, exit) : entry.listener.onReady(pid, trace, terminal));
  } catch (error) {
    // Thrown by somebody's listener. Node-API would only warn of it; it is to be an uncaught exception like any other.
    process.nextTick(() => { throw error; });
  }
}

/** Whether the container `id` keeps Node running. */
export function setRef(id: number, ref: boolean): void {
  const entry = live.get(id);
  if (!entry || entry.ref === ref) return;
  entry.ref = ref;
  refs += ref ? 1 : -1;
  if (ref && refs === 1) native().ref();
  if (!ref && refs === 0) native().unref();
}

/** Must come before anything else is asked of the addon. */
export function listen(): void {
  if (listening) return;
  hearOfContainers(hear);
  listening = true;
}

function enter(id: number, listener: LaunchListener): number {
  live.set(id, { listener, ref: false, scope: new AsyncResource('spawn-contained') });
  setRef(id, true);
  return id;
}

/** Waits for the end of a container that another process has started. Returns an id for it. */
export const attend = (pid: number, startTime: number, cloneFlags: number, init: boolean, listener: LaunchListener): number =>
  enter(native().attend(pid, startTime, cloneFlags, init), listener);

/** `fds` become the first slots; an owned one is closed once it is sent, ~fd stays the caller's. Returns the id. */
export function launch(request: ArrayBuffer, size: number, fds: readonly number[], listener: LaunchListener): number {
  return enter(native().spawn(request, size, new Int32Array(fds)), listener);
}
