BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE examples (
	model VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	bucket VARCHAR NOT NULL, 
	group_id VARCHAR NOT NULL, 
	file VARCHAR NOT NULL, 
	format VARCHAR NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT examples_pk PRIMARY KEY (model, id), 
	CONSTRAINT examples_model_fk FOREIGN KEY(model) REFERENCES models (name), 
	CONSTRAINT examples_model_digest_unique UNIQUE (model, digest)
);
INSERT INTO "examples" VALUES('default','18ead087d121ac692fa67a35','<apple-1>','apple','train','<apple-1>','apple-1.jpg','JPEG',48,40,1388,1.79547668320840811732e+09);
INSERT INTO "examples" VALUES('default','18ead087d3d32a713b6d14b8','<apple-2>','apple','train','<apple-2>','apple-2.jpg','JPEG',48,40,1389,1.79547668325358700759e+09);
INSERT INTO "examples" VALUES('default','18ead087d5e1db6d1be4e378','<apple-3>','apple','train','<apple-3>','apple-3.jpg','JPEG',48,40,1391,1.79547668328810501093e+09);
INSERT INTO "examples" VALUES('default','18ead087d7e9fee21af9f6fc','<apple-4>','apple','train','<apple-4>','apple-4.jpg','JPEG',48,40,1394,1.79547668332218909263e+09);
INSERT INTO "examples" VALUES('default','18ead087d988d48279d589cf','<apple-5>','apple','train','<apple-5>','apple-5.jpg','JPEG',48,40,1384,1795476683.34938);
INSERT INTO "examples" VALUES('default','18ead087da2bd94d0b24b638','<apple-6>','apple','train','<apple-6>','apple-6.jpg','JPEG',48,40,1376,1.79547668336005592348e+09);
INSERT INTO "examples" VALUES('default','18ead087db6db91791394fcb','<orange-7>','orange','train','<orange-7>','orange-7.jpg','JPEG',48,40,1380,1.79547668338115310663e+09);
INSERT INTO "examples" VALUES('default','18ead087dce18c5230d852c3','<orange-8>','orange','train','<orange-8>','orange-8.jpg','JPEG',48,40,1397,1.79547668340551805493e+09);
INSERT INTO "examples" VALUES('default','18ead087de89979f48941f88','<orange-9>','orange','train','<orange-9>','orange-9.jpg','JPEG',48,40,1366,1.79547668343330693247e+09);
INSERT INTO "examples" VALUES('default','18ead087e06f80bf11c7a018','<orange-10>','orange','train','<orange-10>','orange-10.jpg','JPEG',48,40,1389,1795476683.46515);
INSERT INTO "examples" VALUES('default','18ead087e21aab16bf3fc56a','<orange-11>','orange','train','<orange-11>','orange-11.jpg','JPEG',48,40,1407,1.79547668349314689631e+09);
INSERT INTO "examples" VALUES('default','18ead087e4033a030fcb4ad6','<orange-12>','orange','train','<orange-12>','orange-12.jpg','JPEG',48,40,1403,1.79547668352516293522e+09);
INSERT INTO "examples" VALUES('default','18ead087e571bf55cc5514e6','<apple-13>','apple','tune','<apple-13>','apple-13.jpg','JPEG',48,40,1389,1.79547668354918503758e+09);
INSERT INTO "examples" VALUES('default','18ead087e75a7a8bbf81513b','<apple-14>','apple','tune','<apple-14>','apple-14.jpg','JPEG',48,40,1390,1.7954766835812149048e+09);
INSERT INTO "examples" VALUES('default','18ead087e904b3be18b47e1a','<orange-15>','orange','tune','<orange-15>','orange-15.jpg','JPEG',48,40,1409,1.7954766836091439724e+09);
INSERT INTO "examples" VALUES('default','18ead087eb2afc27d4b6b0d4','<orange-16>','orange','tune','<orange-16>','orange-16.jpg','JPEG',48,40,1403,1.79547668364520907405e+09);
INSERT INTO "examples" VALUES('default','18ead087ecd6a3530ab7d98c','<apple-17>','apple','holdout','<apple-17>','apple-17.jpg','JPEG',48,40,1400,1.79547668367323803905e+09);
INSERT INTO "examples" VALUES('default','18ead087ee4041269c05522c','<apple-18>','apple','holdout','<apple-18>','apple-18.jpg','JPEG',48,40,1401,1.79547668369693708416e+09);
INSERT INTO "examples" VALUES('default','18ead087f0a66349207fb766','<apple-19>','apple','holdout','<apple-19>','apple-19.jpg','JPEG',48,40,1389,1.79547668373718500136e+09);
INSERT INTO "examples" VALUES('default','18ead087f213ce6341449901','<orange-20>','orange','holdout','<orange-20>','orange-20.jpg','JPEG',48,40,1390,1.79547668376113104824e+09);
INSERT INTO "examples" VALUES('default','18ead087f382258b26cefc17','<orange-21>','orange','holdout','<orange-21>','orange-21.jpg','JPEG',48,40,1396,1.79547668378514099123e+09);
INSERT INTO "examples" VALUES('default','18ead087f52e8065edbfaa85','<orange-22>','orange','holdout','<orange-22>','orange-22.jpg','JPEG',48,40,1412,1.79547668381321310999e+09);
CREATE TABLE jobs (
	id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	recipe TEXT NOT NULL, 
	gate_policy VARCHAR NOT NULL, 
	progress TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	idempotency_key VARCHAR, 
	attempt INTEGER NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	started_at DOUBLE, 
	finished_at DOUBLE, 
	version INTEGER, 
	verdict TEXT, 
	failure TEXT, 
	lease_owner VARCHAR, 
	lease_expires DOUBLE, 
	CONSTRAINT jobs_pk PRIMARY KEY (id), 
	CONSTRAINT jobs_model_fk FOREIGN KEY(model) REFERENCES models (name), 
	CONSTRAINT jobs_model_idempotency_key_unique UNIQUE (model, idempotency_key)
);
INSERT INTO "jobs" VALUES('00000000000000000000000000000001','default','succeeded','{"name":"guide","backbone":"Compact","alpha":null,"weights":"auto","image_size":32,"preprocessing":"own","pooling":"flatten","dense_units":16,"head_epochs":1,"tail_layers":4,"tail_epochs":3,"batch_size":8,"learning_rate":0.01,"keep":"last","threshold":0.5,"seed":42}','always','{"step":"train","fraction":0.5,"eta_s":3.5,"epoch":1,"epochs":4,"message":"head","warnings":["a warning"],"history":[{"epoch":1,"phase":"head","loss":0.7,"accuracy":0.5,"validation_loss":0.6,"validation_accuracy":null,"seconds":1.25}]}',1.79547668483638095861e+09,'key-1',1,0,1.79547668384864592553e+09,1.79547670148862504964e+09,1,'{"decision":"promote","policy":"always","reasons":["made for a test"],"candidate":{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1},"live":null,"live_version":null}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('00000000000000000000000000000002','default','succeeded','{"name":"guide","backbone":"Compact","alpha":null,"weights":"auto","image_size":32,"preprocessing":"own","pooling":"flatten","dense_units":16,"head_epochs":1,"tail_layers":4,"tail_epochs":3,"batch_size":8,"learning_rate":0.01,"keep":"last","threshold":0.5,"seed":42}','always','{"step":"train","fraction":0.5,"eta_s":3.5,"epoch":1,"epochs":4,"message":"head","warnings":["a warning"],"history":[{"epoch":1,"phase":"head","loss":0.7,"accuracy":0.5,"validation_loss":0.6,"validation_accuracy":null,"seconds":1.25}]}',1.79547668583638095852e+09,'key-2',1,0,1795476701.52452,1.79547670163032388685e+09,2,'{"decision":"promote","policy":"always","reasons":["made for a test"],"candidate":{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1},"live":null,"live_version":null}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('00000000000000000000000000000003','default','failed','{"name":"guide","backbone":"Compact","alpha":null,"weights":"auto","image_size":32,"preprocessing":"own","pooling":"flatten","dense_units":16,"head_epochs":1,"tail_layers":4,"tail_epochs":3,"batch_size":8,"learning_rate":0.01,"keep":"last","threshold":0.5,"seed":42}','always','{"step":"queued","fraction":0.0,"eta_s":null,"epoch":0,"epochs":0,"message":"","warnings":[],"history":[]}',1.79547668683638095852e+09,NULL,1,0,1.79547670167960906023e+09,1.79547670169767189024e+09,NULL,NULL,'{"code":"nothing_to_train","message":"It broke."}',NULL,NULL);
INSERT INTO "jobs" VALUES('00000000000000000000000000000004','default','queued','{"name":"guide","backbone":"Compact","alpha":null,"weights":"auto","image_size":32,"preprocessing":"own","pooling":"flatten","dense_units":16,"head_epochs":1,"tail_layers":4,"tail_epochs":3,"batch_size":8,"learning_rate":0.01,"keep":"last","threshold":0.5,"seed":42}','always','{"step":"queued","fraction":0.0,"eta_s":null,"epoch":0,"epochs":0,"message":"","warnings":[],"history":[]}',1.79547668783638095851e+09,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE live_changes (
	id INTEGER NOT NULL, 
	model VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	replaced INTEGER, 
	kind VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	earlier INTEGER, 
	CONSTRAINT live_changes_pk PRIMARY KEY (id), 
	CONSTRAINT live_changes_model_version_fk FOREIGN KEY(model, version) REFERENCES versions (model, number)
);
INSERT INTO "live_changes" VALUES(1,'default',1,NULL,'gate','made for a test',1.79547670148862504964e+09,NULL);
INSERT INTO "live_changes" VALUES(2,'default',2,1,'gate','made for a test',1.79547670163032388685e+09,1);
INSERT INTO "live_changes" VALUES(3,'default',1,2,'rollback','it is worse',1.79547670164800095551e+09,NULL);
INSERT INTO "live_changes" VALUES(4,'default',2,1,'manual','it is not, Jürgen''s "eye" says',1795476701.6646,1);
CREATE TABLE models (
	name VARCHAR NOT NULL, 
	class_0 VARCHAR, 
	class_1 VARCHAR, 
	split_key VARCHAR NOT NULL, 
	live_version INTEGER, 
	live_change INTEGER, 
	next_version INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT models_pk PRIMARY KEY (name)
);
INSERT INTO "models" VALUES('default','apple','orange','1ddca0aa8ff57d5e2a14fd65d95719d1',2,4,3,1.79547668316873502728e+09);
INSERT INTO "models" VALUES('empty',NULL,NULL,'ed298cb03def152f937a84cdb6ddbe67',NULL,NULL,1,1.79547670171373105049e+09);
CREATE TABLE versions (
	model VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	job_id VARCHAR NOT NULL, 
	parent INTEGER, 
	metrics TEXT NOT NULL, 
	verdict TEXT NOT NULL, 
	training_seconds DOUBLE NOT NULL, 
	manifest_sha256 VARCHAR NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT versions_pk PRIMARY KEY (model, number), 
	CONSTRAINT versions_model_fk FOREIGN KEY(model) REFERENCES models (name), 
	CONSTRAINT versions_job_id_fk FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT versions_job_id_unique UNIQUE (job_id)
);
INSERT INTO "versions" VALUES('default',1,'00000000000000000000000000000001',NULL,'{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1}','{"decision":"promote","policy":"always","reasons":["made for a test"],"candidate":{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1},"live":null,"live_version":null}',1.5,'<manifest-1>',1767225600.0);
INSERT INTO "versions" VALUES('default',2,'00000000000000000000000000000002',1,'{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1}','{"decision":"promote","policy":"always","reasons":["made for a test"],"candidate":{"count":16,"accuracy":0.9,"log_loss":0.3,"auc":0.95,"precision":0.9,"recall":0.9,"true_positive":7,"false_positive":1,"true_negative":7,"false_negative":1},"live":null,"live_version":null}',1.5,'<manifest-2>',1767225600.0);
CREATE INDEX examples_counts ON examples (model, label, bucket);
CREATE INDEX jobs_by_state ON jobs (state, created_at);
CREATE INDEX jobs_by_model ON jobs (model, created_at);
CREATE INDEX live_changes_by_model ON live_changes (model, id);
COMMIT;
