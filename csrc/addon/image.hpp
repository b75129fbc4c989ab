// The launcher's executable, as it stands in this addon.
#pragma once

extern "C" const char contained_launcher_start[];
extern "C" const char contained_launcher_end[];
