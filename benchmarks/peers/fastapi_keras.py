"""FastAPI and Keras as people write them: an upload, Pillow, `predict` per request. usage: fastapi_keras.py PORT"""

import io
import os
import sys

import keras
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

model = keras.models.load_model(os.environ["BENCH_KERAS"])
application = FastAPI()


@application.post("/predict")
def predict(file: UploadFile):
    image = Image.open(io.BytesIO(file.file.read())).convert("RGB").resize((224, 224))
    return {"probability": float(model.predict(np.expand_dims(np.array(image), 0))[0][0])}


uvicorn.run(application, port=int(sys.argv[1]), log_level="warning")
