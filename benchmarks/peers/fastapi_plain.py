"""Plain FastAPI, one process: the raw body to a pool of threads. The one to beat. usage: fastapi_plain.py PORT"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import classifiers
import uvicorn
from fastapi import FastAPI, Request

classifier = classifiers.load()
pool = ThreadPoolExecutor(2 * classifiers.CORES if classifiers.OPENVINO else classifiers.CORES)
application = FastAPI()


@application.post("/predict")
async def predict(request: Request):
    image = await request.body()
    (probability,) = await asyncio.get_running_loop().run_in_executor(pool, classifier.classify, [image])
    return {"probability": probability}


uvicorn.run(application, port=int(sys.argv[1]), log_level="warning")
