// Never ends, and ignores being asked to.
// expect: timeout
process.on('SIGTERM', () => {});
for (;;);
