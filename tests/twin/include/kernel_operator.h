// What a kernel source includes. Found only through the include path; the source is the device's, unchanged.
#pragma once

#include "twin/cast.h"
#include "twin/datacopy.h"
#include "twin/datacopy_nd2nz.h"
#include "twin/datacopy_pad.h"
#include "twin/fill.h"
#include "twin/fixpipe.h"
#include "twin/loaddata.h"
#include "twin/mmad.h"
#include "twin/sync.h"
#include "twin/system.h"
#include "twin/tiling.h"
#include "twin/tpipe.h"
#include "twin/vector_scalar.h"
#include "twin/vector_unary.h"
