// Reads the config.json files of a diffusers folder into the structs of configs.h.
// Threads: pure functions.
//
// Each reader checks `_class_name` (text encoders carry none) and every value it takes. Errors name
// file and key: kInvalidArgument for a value that makes no sense, kUnsupported for one that would
// change the computation in a way this engine does not implement.
#pragma once

#include <string>

#include "model/config_json.h"
#include "model/configs.h"

namespace seamwright::model {

UNetConfig read_unet_config(const Config& config);  // UNet2DConditionModel or UNetMotionModel
MotionConfig read_motion_adapter_config(const Config& config);
VaeConfig read_vae_config(const Config& config);
TinyVaeConfig read_tiny_vae_config(const Config& config);
ClipTextConfig read_clip_text_config(const Config& config);

// A UNet2DConditionModel with a motion adapter, as diffusers merges them: heads, frame limit, mid
// module and temporal depth from the adapter, all else (the norm's groups too) from the U-Net.
// `adapter_file` names the adapter in errors.
UNetConfig with_motion(UNetConfig unet, const MotionConfig& adapter,
                       const std::string& adapter_file);

}  // namespace seamwright::model
