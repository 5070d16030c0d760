(ns quorate.checkers.resume
  "Invariant 10: a leader lost at any instant of a switch costs time, never a second epoch, a half-written record or a stuck
  service.

  Every write of an epoch wants the same values; at the end each service serves, and record and fence are those of its last
  epoch."
  (:require [quorate.history :as h]))

(defn- two-ways [history]
  (for [[[service epoch] writes] (group-by (fn [w] [(get-in w [:value :service]) (get-in w [:value :epoch])])
                                           (filter h/taken? (h/writes history)))
        :let [values (distinct (map #(set (get-in % [:value :values])) writes))]
        :when (> (count values) 1)]
    (str service ": epoch " epoch " was written in " (count values) " ways: " (mapv vec values))))

(defn- at-end [history]
  (mapcat
   (fn [[service {:keys [values]}]]
     (let [status (:value (h/final history :status service))
           standing (:value (last (filter #(= service (get-in % [:value :service]))
                                          (h/infos history :witness :standing))))]
       (when status
         (remove nil?
                 [(when (not= :serving (:phase status))
                    (str service ": at the end it is " (name (:phase status)) " under epoch " (:epoch status)
                         (when (:trouble status) (str ", " (:trouble status)))))
                  (when (and standing (not= (set (:values standing)) (set (get values (:region status)))))
                    (str service ": at the end it serves " (:region status) ", and the record is " (vec (:values standing))))
                  (when (and standing (not= (:epoch standing) (:epoch status)))
                    (str service ": at the end its epoch is " (:epoch status) ", and the fence's " (:epoch standing)))]))))
   (h/services history)))

(defn check [history]
  (h/verdict 10 (concat (two-ways history) (at-end history))))
