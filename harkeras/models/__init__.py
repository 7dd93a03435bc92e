"""The models, one family per file; importing this package registers them all."""

from harkeras.models.architecture import plot_architecture
from harkeras.models.backbones import create_backbone, list_backbones
from harkeras.models.blocks import set_batch_norm_momentum, speed_up_groups
from harkeras.models.c3d import create_c3d_model
from harkeras.models.cnn_lstm import create_cnn_lstm_model
from harkeras.models.convlstm import create_convlstm_model
from harkeras.models.fusion import (
    create_early_fusion_model,
    create_late_fusion_model,
    create_slow_fusion_model,
)
from harkeras.models.googlenet import create_googlenet_model
from harkeras.models.i3d import create_i3d_model, create_two_stream_i3d_model
from harkeras.models.image_models import (
    create_densenet121_model,
    create_efficientnet_lite0_model,
    create_mobilenet_v2_model,
    create_resnet50_model,
    create_vgg16_model,
)
from harkeras.models.inflation import inflate
from harkeras.models.lrcn import create_lrcn_model
from harkeras.models.movinet import create_movinet_model, create_movinet_states, create_movinet_stream_model
from harkeras.models.multiresolution import create_multiresolution_model
from harkeras.models.pose_lstm import create_pose_lstm_model
from harkeras.models.r2plus1d import create_r2plus1d_model, create_r3d_model
from harkeras.models.registry import create_model, list_models
from harkeras.models.resnet3d import create_resnet3d_model, create_resnext3d_model
from harkeras.models.saving import load_model, read_recipe, save_model
from harkeras.models.single_frame import create_single_frame_model
from harkeras.models.table import count_multiply_adds, model_table
from harkeras.models.two_stream import create_two_stream_model
from harkeras.models.video_transformer import create_video_transformer_model

__all__ = [
    "count_multiply_adds",
    "create_backbone",
    "create_c3d_model",
    "create_cnn_lstm_model",
    "create_convlstm_model",
    "create_densenet121_model",
    "create_early_fusion_model",
    "create_efficientnet_lite0_model",
    "create_googlenet_model",
    "create_i3d_model",
    "create_late_fusion_model",
    "create_lrcn_model",
    "create_mobilenet_v2_model",
    "create_model",
    "create_movinet_model",
    "create_movinet_states",
    "create_movinet_stream_model",
    "create_multiresolution_model",
    "create_pose_lstm_model",
    "create_r2plus1d_model",
    "create_r3d_model",
    "create_resnet3d_model",
    "create_resnet50_model",
    "create_resnext3d_model",
    "create_single_frame_model",
    "create_slow_fusion_model",
    "create_two_stream_i3d_model",
    "create_two_stream_model",
    "create_vgg16_model",
    "create_video_transformer_model",
    "inflate",
    "list_backbones",
    "list_models",
    "load_model",
    "model_table",
    "plot_architecture",
    "read_recipe",
    "save_model",
    "set_batch_norm_momentum",
    "speed_up_groups",
]
