// What decoded frames cost on their way from the decoder to the encoder, part by part.
// Threads: the calling one, and the backend's.
#pragma once

#include "model/backend.h"

namespace seamwright::bench {

// Seconds for one frame, the least of some runs.
struct PixelCosts {
  double to_bytes = 0;     // pixels_to_rgb8 on the device
  double read_back = 0;    // bytes to the host, waited for
  double float_read = 0;   // what fetching the decoder's values would take instead, waited for
  double latent_hash = 0;  // SHA-256 of the frame's latent
  double seams = 0;        // the measures of the report
};

// decoded [n, H, W, 3] as the decoder gave it; `latent_values` floats a frame.
PixelCosts measure_pixels(model::Backend& backend, model::ConstView decoded,
                          std::size_t latent_values);

}  // namespace seamwright::bench
