// SPDX-License-Identifier: Apache-2.0
// Marks the exported symbols of the library; all others are hidden.
#pragma once

#define MS_NSA_EXPORT extern "C" __attribute__((visibility("default")))
