// SPDX-License-Identifier: Apache-2.0
// What the library shows; everything else is hidden.
#pragma once

#define MS_NSA_EXPORT extern "C" __attribute__((visibility("default")))
