{
  # One list of sources for node-gyp and CMake: csrc/sources.txt. `ops` goes into both programs.
  "target_defaults": {
    "cflags_cc!": ["-std=gnu++17", "-fno-exceptions"],
    "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-fstack-protector-strong", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-O2", "-g0"],
    "defines": ["_GNU_SOURCE"]
  },
  "targets": [
    {
      "target_name": "launcher",
      "type": "executable",
      "sources": ["<!@(grep -E '^(ops|launcher)/' csrc/sources.txt | sed 's,^,csrc/,')"],
      "ldflags!": ["-rdynamic"],
      "ldflags": ["-static", "-s", "-Wl,--gc-sections", "-Wl,-z,noseparate-code"],
      "cflags_cc": ["-Os", "-ffunction-sections", "-fdata-sections"]
    },
    {
      "target_name": "spawn_contained",
      "dependencies": ["launcher"],
      "include_dirs": ["csrc"],
      "cflags_cc": ["-isystem <!(node -p \"require('node:path').resolve(require('node-addon-api').include_dir)\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "sources": ["<!@(grep -E '^(ops|addon)/' csrc/sources.txt | sed 's,^,csrc/,')"],
      # The connection's thread outlives every environment, so the code must never be unloaded.
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-z,noexecstack"],
      "actions": [
        {
          "action_name": "embed",
          "inputs": ["csrc/embed.cjs", "<(PRODUCT_DIR)/launcher"],
          "outputs": ["<(INTERMEDIATE_DIR)/image.cc"],
          "action": ["node", "csrc/embed.cjs", "<(PRODUCT_DIR)/launcher", "<@(_outputs)"],
          "process_outputs_as_sources": 1
        }
      ]
    }
  ]
}
